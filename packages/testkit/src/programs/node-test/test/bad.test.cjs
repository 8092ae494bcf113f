const assert = require('node:assert/strict');
const test = require('node:test');
const heavy = require('heavy');
const { loud } = require('loud');

test('counts', () => assert.equal(heavy.count() + loud(), 2));
test('fails', () => assert.deepEqual({ a: 1 }, { a: 2 }));
test('throws later', async () => {
  await Promise.resolve();
  throw new TypeError('later');
});
test('has a part that fails', async (t) => {
  await t.test('the part', () => assert.fail('the reason'));
});
test('is given up', { timeout: 20 }, async () => await new Promise((resolve) => setTimeout(resolve, 100)));
