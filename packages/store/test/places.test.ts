import assert from 'node:assert/strict';
import { chmod, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { ensureHome, places, placesAt } from '../src/index.ts';
import { temporaryDirectory } from './fake-run.ts';

test('the data directory is FORKPOINT_HOME, else below XDG_DATA_HOME, else below the home directory', () => {
  const home = (env: Record<string, string>): string => places(env, '/cwd').home;
  assert.equal(home({ FORKPOINT_HOME: '/f', XDG_DATA_HOME: '/x', HOME: '/h' }), '/f');
  assert.equal(home({ FORKPOINT_HOME: 'f', HOME: '/h' }), '/cwd/f');
  assert.equal(home({ FORKPOINT_HOME: '', XDG_DATA_HOME: '/x', HOME: '/h' }), '/x/forkpoint');
  assert.equal(home({ XDG_DATA_HOME: 'relative', HOME: '/h' }), '/h/.local/share/forkpoint');
});

test('everything in the data directory is made for its owner alone', async (t) => {
  const at = placesAt(join(await temporaryDirectory(t), 'a', 'home'));
  await ensureHome(at);
  await chmod(at.images, 0o755);
  await ensureHome(at);
  for (const path of [at.home, at.engine, at.images, at.runs, at.cache, at.pod]) {
    assert.equal((await stat(path)).mode & 0o777, 0o700, path);
  }
});

test('a directory that others use as well keeps its mode', async (t) => {
  const at = placesAt(join(await temporaryDirectory(t), 'shared'));
  await mkdir(at.home, { mode: 0o755 });
  await ensureHome(at);
  assert.equal((await stat(at.home)).mode & 0o777, 0o755);
});

test('a data directory that cannot be made is named with the reason', async () => {
  await assert.rejects(ensureHome(placesAt('/proc/forkpoint')), {
    code: 'ERR_FORKPOINT_HOME',
    message: /\/proc\/forkpoint/,
  });
});
