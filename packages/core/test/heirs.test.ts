import assert from 'node:assert/strict';
import { test } from 'node:test';

import { withVariables } from '../src/heirs.ts';

const WORDS = '--require "/fp/preload.cjs"';
const VARIABLES = [
  ['FORKPOINT_DIR', '/pod'],
  ['NODE_OPTIONS', ''],
  ['LD_PRELOAD', '/fp/shim.so'],
] as const;

test('a child with an environment of its own gets what the library needs, and keeps all else', () => {
  assert.deepEqual(withVariables(['A=1'], WORDS, VARIABLES), [
    'A=1',
    'FORKPOINT_DIR=/pod',
    `NODE_OPTIONS=${WORDS}`,
    'LD_PRELOAD=/fp/shim.so',
  ]);
  const own = ['NODE_OPTIONS=--no-warnings', 'LD_PRELOAD=/own.so', 'A=b=c'];
  assert.deepEqual(withVariables(own, WORDS, VARIABLES), [
    `NODE_OPTIONS=--no-warnings ${WORDS}`,
    'LD_PRELOAD=/own.so:/fp/shim.so',
    'A=b=c',
    'FORKPOINT_DIR=/pod',
  ]);
});

test('a child that has it all, or is given a directory of its own, is left alone', () => {
  const whole = ['FORKPOINT_DIR=/pod', `NODE_OPTIONS=${WORDS}`, 'LD_PRELOAD=/fp/shim.so'];
  assert.deepEqual(withVariables(whole, WORDS, VARIABLES), whole);
  assert.deepEqual(withVariables(['FORKPOINT_DIR='], WORDS, VARIABLES), ['FORKPOINT_DIR=']);
});
