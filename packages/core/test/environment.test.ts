import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { digestOf, EnvironmentReads } from '../src/environment.ts';

/** Runs something with a fresh recorder, and puts the environment back. */
function recorded(read: () => void): string[] {
  const reads = new EnvironmentReads();
  reads.start();
  try {
    read();
    return Object.keys(reads.facts());
  } finally {
    reads.stop();
  }
}

test('a variable that is read while the program starts is remembered, set or not', () => {
  process.env['FP_TEST_ONE'] = '1';
  assert.deepEqual(
    recorded(() => [process.env['FP_TEST_ONE'], process.env['FP_TEST_NONE'], 'FP_TEST_TWO' in process.env]),
    ['FP_TEST_ONE', 'FP_TEST_NONE', 'FP_TEST_TWO'],
  );
});

test('a copy of the whole environment, as for a child, is no reading', () => {
  assert.deepEqual(
    recorded(() => {
      assert.equal({ ...process.env }['PATH'], process.env.PATH);
      for (const [name, value] of Object.entries(process.env)) assert.equal(typeof name, typeof value);
    }),
    ['PATH'],
  );
});

test('the environment behaves as Node’s own', () => {
  const own = process.env;
  recorded(() => {
    process.env['FP_TEST_SET'] = '5';
    Object.assign(process.env, { FP_TEST_ASSIGNED: 'x' });
    assert.deepEqual([own['FP_TEST_SET'], own['FP_TEST_ASSIGNED']], ['5', 'x']);
    const child = spawnSync('sh', ['-c', 'echo $FP_TEST_SET'], { encoding: 'utf8' });
    assert.equal(child.stdout, '5\n');
    assert.ok(Object.keys(process.env).includes('FP_TEST_SET'));
    assert.ok(delete process.env['FP_TEST_SET']);
    assert.ok(!('FP_TEST_SET' in process.env));
  });
  assert.equal(process.env, own, 'and is that again afterwards');
});

test('a program that listens for changes is told of them, and nothing is remembered', () => {
  const listener = (): void => undefined;
  const program: NodeJS.EventEmitter = process;
  program.on('forkpoint:config-changed', listener);
  try {
    assert.deepEqual(
      recorded(() => process.env['FP_TEST_ONE']),
      [],
    );
  } finally {
    program.off('forkpoint:config-changed', listener);
  }
});

test('digests are those of FNV-1a', () => {
  assert.deepEqual(['', 'a', 'foobar'].map(digestOf), ['811c9dc5', 'e40c292c', 'bf9cf968']);
});
