// Not to be shared: others would see what it does.
require('heavy');
globalThis.loud = (globalThis.loud ?? 0) + 1;
exports.loud = () => globalThis.loud;
