import assert from 'node:assert/strict';
import { test } from 'node:test';
import { clientOf } from '../src/strangers.ts';

const lackOf = (exe: string | null): string | undefined => clientOf(exe)?.lack;

test('a runtime is known by the name of its file, and nothing else is taken for one', () => {
  for (const exe of ['/usr/bin/node', '/usr/bin/nodejs', '/opt/node-24', '/opt/node22.1'])
    assert.equal(lackOf(exe), 'has not loaded forkpoint', exe);
  for (const exe of ['/usr/bin/python3.11', '/opt/pypy3.10', '/usr/bin/python'])
    assert.equal(lackOf(exe), 'has not imported forkpoint', exe);
  assert.equal(lackOf('/usr/bin/ruby3.1'), 'has not required forkpoint');
  assert.equal(lackOf('/usr/lib/jvm/java-17/bin/java'), 'runs without the Java client');
  for (const exe of ['/usr/bin/nodemon', '/usr/bin/pythonista', '/usr/bin/javac', '/opt/node/bin/tool', null])
    assert.equal(lackOf(exe), undefined, String(exe));
});
