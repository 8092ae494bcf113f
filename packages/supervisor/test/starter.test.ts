import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { eventually } from '@forkpoint/testkit';
import { Starter } from '../src/host/starter.ts';

/** Notes its arguments, its input and what it was started with. */
const NOTES = '#!/bin/sh\nprintf "%s %s %s %s\\n" "$1" "$2" "$WORD" "$(cat)" >> "$NOTES"\n';

test('a starter starts what it is told with its environment and no input, and refuses paths that it cannot read', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'starter-'));
  try {
    const notes = join(directory, 'notes');
    const launcher = join(directory, 'a launcher');
    writeFileSync(launcher, NOTES);
    chmodSync(launcher, 0o755);
    writeFileSync(notes, '');
    const starter = new Starter(launcher, { PATH: process.env['PATH'], WORD: 'word', NOTES: notes });
    assert.equal(starter.start('/one/plan'), true);
    assert.equal(starter.start('/a \\plan/$HOME'), true);
    assert.equal(starter.start('/two\nlines'), false);
    const lines = await eventually(() => {
      const found = readFileSync(notes, 'utf8').split('\n').slice(0, -1).sort();
      return Promise.resolve(found.length === 2 ? found : undefined);
    }, 'both children');
    assert.deepEqual(lines, ['child /a \\plan/$HOME word ', 'child /one/plan word ']);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('a starter neither keeps its process alive nor outlives it, and says so when its shell is gone', async () => {
  const module = new URL('../src/host/starter.ts', import.meta.url).href;
  const text = `import { Starter } from '${module}'; const one = new Starter('/bin/true', {}); console.log(one.pid, one.start('/plan'));`;
  const { stdout } = await promisify(execFile)(process.execPath, ['--input-type=module', '-e', text]);
  const [, pid, hasStarted] = /^(\d+) (\w+)$/m.exec(stdout) ?? [];
  assert.equal(hasStarted, 'true');
  await eventually(() => {
    try {
      return Promise.resolve(/\) Z /.test(readFileSync(`/proc/${pid}/stat`, 'utf8')) || undefined);
    } catch {
      return Promise.resolve(true);
    }
  }, 'the end of the shell');
  const starter = new Starter('/bin/true', {});
  process.kill(starter.pid ?? 0, 'SIGKILL');
  await eventually(() => Promise.resolve(starter.start('/plan') ? undefined : true), 'the shell being gone');
});
