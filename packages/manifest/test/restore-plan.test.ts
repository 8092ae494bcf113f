import assert from 'node:assert/strict';
import { test } from 'node:test';
import { decodePlan, decodeRestorePlan, encodePlan, encodeRestorePlan, restorePlanOf } from '../src/index.ts';
import { sample } from './sample.ts';

const plan = restorePlanOf(sample, {
  pidBase: 6000,
  parts: [{ name: 'core-1.img', size: 7 }],
  locks: [{ path: '/db', kind: 'range', isExclusive: true, start: 1, length: 0 }],
  blocked: ['outcome'],
  reads: [{ name: 'PORT', digest: '0badcafe' }],
  terminal: [1, 2, 3, 4, 0, 3, 28],
  hasIpcObjects: true,
  mapsCode: true,
  criu: ['--tcp-close'],
});
const code = { code: 'ERR_FORKPOINT_PLAN_INVALID' };

test('a restore plan survives the way through its bytes', () => {
  assert.deepEqual(decodeRestorePlan(encodeRestorePlan(plan)), plan);
});

test('a manifest gives its restore plan', () => {
  assert.equal(plan.root, 5000);
  assert.deepEqual(plan.pids, [5000, 5001, 5010]);
  assert.deepEqual(plan.cwds, ['/srv/app']);
  assert.ok(plan.slots.every((slot) => !Object.hasOwn(slot, 'fds')));
});

test('the records are those of ARCHITECTURE.md', () => {
  const records = decodePlan(encodeRestorePlan(plan));
  const fieldsOf = (key: string) =>
    records.filter((record) => record.key === key).map((record) => record.fields);
  assert.deepEqual(fieldsOf('file'), [
    ['/usr/bin/node', '100', '1700000000123456789'],
    ['/srv/app/log', '-', '-'],
  ]);
  assert.deepEqual(fieldsOf('slot'), [
    ['stdin', 'stdin', 'tty[1]', '2', '1'],
    ['tcp-8080', 'tcp', 'socket:[7]', '2050', '1', '6', '::', '8080', '511', 'reuseaddr,v6only'],
    ['app.sock', 'unix', 'socket:[8]', '2', '0', '/srv/app/a.sock', '5', '755', 'stream'],
  ]);
  assert.deepEqual(fieldsOf('clock'), [['12', '999999999', '13', '0']]);
  assert.deepEqual(fieldsOf('code'), [['1']]);
  const plain = decodePlan(encodeRestorePlan({ ...plan, mapsCode: false }));
  assert.ok(plain.every(({ key }) => key !== 'code'));
});

test('a wrong field of any record is refused', () => {
  const records = decodePlan(encodeRestorePlan(plan));
  const withRecord = (key: string, fields: string[]) =>
    encodePlan([...records.filter((record) => record.key !== key), { key, fields }]);
  for (const [key, ...fields] of [
    ['clock', '1', '2', '3'],
    ['clock', '1', '1000000000', '3', '4'],
    ['cpu'],
    ['pid', '1', '-2'],
    ['root', '1e3'],
    ['generation', '99999999999999999'],
    ['file', '/x', '1'],
    ['file', '/x', '1', 'yesterday'],
    ['slot', 'a', 'pipe', 'k', '0', '0'],
    ['slot', 'a', 'tcp', 'k', '0', '0', '5', '::', '1', '1', ''],
    ['slot', 'a', 'tcp', 'k', '0', '0', '4', '::', '1', '1', 'fast'],
    ['slot', 'a', 'unix', 'k', '0', '2', '/x', '1', '755', 'stream'],
    ['slot', 'a', 'unix', 'k', '0', '0', '/x', '1', '9', 'stream'],
    ['slot', 'a', 'unix', 'k', '0', '0', '/x', '1', '755', 'dgram'],
    ['command', '{}'],
    ['command', '['],
  ] as [string, ...string[]][]) {
    assert.throws(() => decodeRestorePlan(withRecord(key, fields)), code, `${key} ${fields.join(' ')}`);
  }
});
