const assert = require('node:assert/strict');
const test = require('node:test');
const heavy = require('heavy');

test('meets no poison', () => {
  assert.equal(globalThis.poison, undefined);
  assert.equal([].poison, undefined);
  assert.equal(process.env.POISON, undefined);
  assert.notEqual(process.cwd(), '/');
  assert.equal(heavy.count(), 1);
});
