import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, realpathSync, rmSync, watch, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { watchedPaths } from '../src/watched.ts';

const directory = realpathSync(mkdtempSync(join(tmpdir(), 'fp-watched-')));
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
  assert.deepEqual(watchedPaths([process.pid]), [], 'nothing is watched yet');
  const watchers = [watch(join(directory, 'deep')), watch(file)];
  try {
    assert.deepEqual(watchedPaths([process.pid]), [file, join(directory, 'deep'), directory]);
  } finally {
    for (const watcher of watchers) watcher.close();
  }
});
