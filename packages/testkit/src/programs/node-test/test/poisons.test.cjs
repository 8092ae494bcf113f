const assert = require('node:assert/strict');
const test = require('node:test');
const heavy = require('heavy');

test('poisons what it can', () => {
  assert.equal(globalThis.poison, undefined);
  globalThis.poison = 'poison';
  Reflect.defineProperty(Array.prototype, 'poison', { value: 'poison' });
  process.env.POISON = 'poison';
  process.chdir('/');
  heavy.count = () => 'poison';
});
