import assert from 'node:assert/strict';
import { mkdir, symlink, unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { exec, install } from './helper.ts';

test('restore becomes the launcher, also through symbolic links and blanks', async (t) => {
  const { lib, root, env } = await install(t);
  await mkdir(join(root, 'some bin'));
  await symlink('../lib/bin/forkpoint', join(root, 'some bin', 'one'));
  await symlink(join(root, 'some bin', 'one'), join(root, 'two'));
  await symlink('lib/bin', join(root, 'linked bin'));
  const expected = { code: 5, out: 'launcher <restore> <a b> <--> <x>\n', err: '' };
  const started = { env: { ...env, LAUNCHER_EXIT: '5' }, cwd: root };
  for (const file of [
    join(lib, 'bin', 'forkpoint'),
    join(root, 'some bin', 'one'),
    join(root, 'two'),
    join(root, 'linked bin', 'forkpoint'),
    './two',
    'lib/bin/forkpoint',
  ]) {
    assert.deepEqual(await exec(file, ['restore', 'a b', '--', 'x'], started), expected, file);
  }
});

test('run asks the command line for a plan and becomes the launcher', async (t) => {
  const { lib, root, env } = await install(t);
  const file = join(lib, 'bin', 'forkpoint');
  const result = await exec(file, ['run', '--', 'sh', '-c', 'x'], {
    env: { ...env, LAUNCHER_EXIT: '9' },
    cwd: root,
  });
  assert.deepEqual([result.code, result.err], [9, '']);
  assert.match(result.out, /^launcher <run> <.*\/runs\/[0-9a-f]{12}\/run.plan>\n[^]*arg:3\nsh\n-c\nx\n/);
});

test('help and errors of run come through, and nothing is started', async (t) => {
  const { lib, root, env } = await install(t);
  const file = join(lib, 'bin', 'forkpoint');
  const help = await exec(file, ['run', '--help'], { env, cwd: root });
  assert.deepEqual([help.code, help.err], [0, '']);
  assert.match(help.out, /^Usage: forkpoint run/);
  const lost = await exec(file, ['run', '--', 'nosuch-program'], { env, cwd: root });
  assert.deepEqual([lost.code, lost.out], [127, '']);
  assert.match(lost.err, /there is no program `nosuch-program`/i);
});

test('without a launcher restore explains what to do', async (t) => {
  const { lib, root, env } = await install(t, { isSetUp: false });
  const result = await exec(join(lib, 'bin', 'forkpoint'), ['restore', './img'], { env, cwd: root });
  assert.equal(result.code, 125);
  assert.match(result.err, /Hint: Run `forkpoint setup`/);
});

test('a missing node or bundle is one clear line', async (t) => {
  const { lib, root, env } = await install(t);
  const file = join(lib, 'bin', 'forkpoint');
  const without = await exec(file, ['ps'], { env: { ...env, FORKPOINT_NODE: '/nowhere/node' }, cwd: root });
  assert.equal(without.code, 1);
  assert.match(
    without.err,
    /^Error: forkpoint needs Node.js 20 or newer, and there is no \/nowhere\/node on PATH\nHint: .*\n$/,
  );
  await unlink(join(lib, 'dist', 'cli.cjs'));
  const unbuilt = await exec(file, ['run', '--', 'true'], { env, cwd: root });
  assert.equal(unbuilt.code, 125);
  assert.match(unbuilt.err, /^Error: forkpoint has not been built/);
});
