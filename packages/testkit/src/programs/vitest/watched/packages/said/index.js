exports.said = 'first';
