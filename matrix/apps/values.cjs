// What no two clones of a program may have in common, drawn from every source that Node has.
const crypto = require('node:crypto');

exports.values = () => [
  String(Math.random()),
  crypto.randomUUID(),
  String(crypto.randomInt(2 ** 47)),
  crypto.randomBytes(16).toString('hex'),
  Buffer.from(globalThis.crypto.getRandomValues(new Uint8Array(16))).toString('hex'),
];
