import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import heavy from 'heavy';
import { loud } from 'loud';
import { shared } from '../src/shared.mjs';

test('has its own copy of a package', (t) => {
  t.diagnostic('a note');
  assert.equal(heavy.count(), 1);
  assert.equal(loud(), 1);
  assert.equal(shared(), 'modern function');
  console.log('said');
  console.error('complained');
});

describe('a group', () => {
  it('nests', async (t) => {
    await t.test('deeper', () => assert.ok(true));
  });
  it('is left out', { skip: 'not here' }, () => assert.fail());
  it('is for later', { todo: true }, () => assert.fail('not yet'));
});

test('mocks', (t) => {
  const method = t.mock.method(heavy, 'count', () => 7);
  assert.equal(heavy.count(), 7);
  assert.equal(method.mock.callCount(), 1);
  t.mock.timers.enable({ apis: ['setTimeout', 'Date'], now: 5 });
  let rang = false;
  setTimeout(() => (rang = true), 1000);
  t.mock.timers.tick(1000);
  assert.ok(rang);
  assert.equal(Date.now(), 1005);
});

test('is the main module', { skip: import.meta.main === undefined }, () => {
  assert.equal(import.meta.main, true);
});
