const test = require('node:test');

test('ends everything', () => process.exit(3));
