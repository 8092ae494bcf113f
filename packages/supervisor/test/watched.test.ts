import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { watchedPaths } from '../src/watched.ts';

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'fp-watched-')));
const control = join(directory, 'control');
const earlier = process.cwd();
after(() => {
  process.chdir(earlier);
  rmSync(directory, { recursive: true });
});

test('watched files are found below the working directory, before the directories', () => {
  mkdirSync(join(directory, 'deep/below'), { recursive: true });
  const file = join(directory, 'deep/below/file');
  writeFileSync(file, '');
  process.chdir(directory);
  assert.deepEqual(watchedPaths([process], control), [], 'nothing is watched yet');
  const watchers = [watch(join(directory, 'deep')), watch(file)];
  try {
    assert.deepEqual(watchedPaths([process], control), [file, join(directory, 'deep'), directory]);
  } finally {
    for (const watcher of watchers) watcher.close();
  }
});

test('what a member has told is found wherever it lies, and what else stands there is left alone', () => {
  const elsewhere = realpathSync(mkdtempSync(join(tmpdir(), 'fp-elsewhere-')));
  const member = join(control, 'members', String(process.pid));
  mkdirSync(member, { recursive: true });
  mkdirSync(join(directory, 'empty'));
  process.chdir(join(directory, 'empty'));
  const watcher = watch(elsewhere);
  try {
    assert.deepEqual(watchedPaths([process], control), [process.cwd()]);
    writeFileSync(join(member, 'watched.json'), JSON.stringify([7, 'relative', '/proc', elsewhere]));
    assert.deepEqual(watchedPaths([process], control), [elsewhere, process.cwd()]);
    writeFileSync(join(member, 'watched.json'), '["cut');
    assert.deepEqual(watchedPaths([process], control), [process.cwd()]);
  } finally {
    watcher.close();
    rmSync(elsewhere, { recursive: true });
  }
});
