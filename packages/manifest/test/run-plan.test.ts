import assert from 'node:assert/strict';
import { test } from 'node:test';
import {
  decodeEnginePlan,
  decodePlan,
  decodeRunPlan,
  encodeEnginePlan,
  encodePlan,
  encodeRunPlan,
} from '../src/index.ts';
import type { RunPlan } from '../src/index.ts';

const plan: RunPlan = {
  id: '0123456789ab',
  name: 'server',
  home: '/h',
  dir: '/h/runs/0123456789ab',
  cwd: '/srv',
  file: '/usr/bin/node',
  args: ['node', 'a b.js', ''],
  env: { PATH: '/bin', EMPTY: '', 'odd name': '=x' },
  command: ['node', 'a b.js', ''],
  to: { dest: 'img%g', cwd: '/srv' },
  isDetached: true,
  isJson: false,
  worker: ['/usr/bin/node', '/lib/worker.cjs'],
};

test('a run plan survives the way through its bytes', () => {
  assert.deepEqual(decodeRunPlan(encodeRunPlan(plan)), plan);
  assert.deepEqual(decodeRunPlan(encodeRunPlan({ ...plan, to: null })).to, null);
});

test('a run plan has the records that the launcher reads', () => {
  const keys = decodePlan(encodeRunPlan(plan)).map(({ key, fields }) => `${key}:${fields.length}`);
  assert.deepEqual(keys, [
    'forkpoint-plan:2',
    'id:1',
    'name:1',
    'home:1',
    'dir:1',
    'cwd:1',
    'file:1',
    'arg:3',
    'env:6',
    'command:1',
    'to:2',
    'detach:1',
    'json:1',
    'worker:2',
  ]);
});

test('unknown records are skipped, missing and doubled ones are refused', () => {
  const records = decodePlan(encodeRunPlan(plan));
  assert.deepEqual(decodeRunPlan(encodePlan([...records, { key: 'later', fields: ['x'] }])), plan);
  for (const { key } of records) {
    if (key === 'to') continue;
    assert.throws(() => decodeRunPlan(encodePlan(records.filter((record) => record.key !== key))), {
      code: 'ERR_FORKPOINT_PLAN_INVALID',
    });
  }
  assert.throws(() => decodeRunPlan(encodePlan([...records, { key: 'id', fields: ['x'] }])), /"id" 2 times/);
});

test('a variable called __proto__ stays a variable', () => {
  const records = decodePlan(encodeRunPlan(plan)).map((record) =>
    record.key === 'env' ? { key: 'env', fields: ['__proto__', 'x'] } : record,
  );
  assert.deepEqual(Object.entries(decodeRunPlan(encodePlan(records)).env), [['__proto__', 'x']]);
});

test('an engine plan survives the way through its bytes', () => {
  const engine = { criu: ['/lib/ld.so', '--library-path', '/x', '/criu'], version: '4.2.1' };
  assert.deepEqual(decodeEnginePlan(encodeEnginePlan(engine)), engine);
  assert.throws(() => decodeEnginePlan(encodeRunPlan(plan)), /kind engine/);
});
