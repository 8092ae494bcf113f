import assert from 'node:assert/strict';
import { test } from 'node:test';
import { checkName, closeMatches, defaultName, isId, newId } from '../src/index.ts';

test('ids are 12 hex digits and differ', () => {
  const ids = Array.from({ length: 50 }, newId);
  assert.ok(ids.every(isId));
  assert.equal(new Set(ids).size, 50);
});

test('a run is named after the script, else the program', () => {
  const name = (...command: string[]): string => defaultName(command, new Set());
  assert.equal(name('node', 'server.js'), 'server');
  assert.equal(name('/usr/bin/node', '--max-old-space-size=100', '/srv/app.mjs', 'x.js'), 'app');
  assert.equal(name('python3.12', 'a b.py'), 'a-b');
  assert.equal(name('/opt/My Tool'), 'My-Tool');
  assert.equal(name('node'), 'node');
  assert.equal(name('..'), 'program');
});

test('a taken name gets a number', () => {
  assert.equal(defaultName(['node', 'a.js'], new Set(['a'])), 'a-2');
  assert.equal(defaultName(['node', 'a.js'], new Set(['a', 'a-2'])), 'a-3');
});

test('a name is letters, digits, dots, dashes and underscores', () => {
  for (const name of ['a', 'A.b-c_9', '0']) assert.equal(checkName(name), name);
  for (const name of ['', '.a', '-a', 'a/b', 'a b', 'ä', 'a'.repeat(101), '..']) {
    assert.throws(() => checkName(name), { code: 'ERR_FORKPOINT_NAME' }, name);
  }
});

test('close matches are typing errors and beginnings, best first', () => {
  assert.deepEqual(closeMatches('sevrer', ['server', 'worker', 'x']), ['server']);
  assert.deepEqual(closeMatches('ser', ['server', 'set', 'zzz']), ['server', 'set']);
  assert.deepEqual(closeMatches('server', ['zzz']), []);
  assert.deepEqual(closeMatches('x'.repeat(5000), ['x'.repeat(5001)]), []);
});
