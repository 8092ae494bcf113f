import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { nativeDirectory } from '@forkpoint/engine';
import { isPreloadable, withPreload, withRequire } from '../src/index.ts';
import { bundle, exec, install } from './helper.ts';

const modules = join(import.meta.dirname, '../../../node_modules');

test('the plan holds the command, the environment and the worker', async (t) => {
  const { start, lib, root, home } = await install(t);
  const { code, out, err } = await start(
    'run',
    '--name',
    'a',
    '--env',
    'X=1=2',
    '--to',
    'img%g',
    '-d',
    '--',
    'sh',
    '-c',
    'x y',
    '--',
    '--name',
  );
  assert.deepEqual([code, err], [0, '']);
  const [id] = await readdir(join(home, 'runs'));
  const plan = out.slice(out.indexOf('\n') + 1);
  for (const part of [
    'forkpoint-plan:2\nrun\n1\n',
    `id:1\n${id}\nname:1\na\nhome:1\n${home}\n`,
    `cwd:1\n${root}\nfile:1\n`,
    'arg:5\nsh\n-c\nx y\n--\n--name\n',
    '\nX\n1=2\n',
    `FORKPOINT_DIR\n${home}/pod\n`,
    `FORKPOINT_NATIVE\n${nativeDirectory(home)}\n`,
    `NODE_OPTIONS\n--require "${lib}/dist/preload.cjs"\n`,
    'command:1\n["sh","-c","x y","--","--name"]\n',
    `to:2\nimg%g\n${root}\ndetach:1\n1\njson:1\n0\n`,
    `worker:2\n${process.execPath}\n${lib}/dist/worker.cjs\n`,
  ]) {
    assert.ok(plan.includes(part), `${part}\n--\n${plan}`);
  }
  assert.ok(!plan.includes('FORKPOINT_LIB'));
});

test('--no-preload leaves the environment alone', async (t) => {
  const { start } = await install(t);
  const { out } = await start('run', '--no-preload', '--', 'true');
  assert.doesNotMatch(out, /NODE_OPTIONS|LD_PRELOAD/);
});

test('a program that is missing or cannot be executed has the exit codes of a shell', async (t) => {
  const { run, root, home } = await install(t);
  await writeFile(join(root, 'plain'), '');
  await mkdir(join(root, 'directory'));
  for (const [name, code] of [
    ['nosuch-program', 127],
    ['./nosuch', 127],
    ['./plain', 126],
    ['./directory', 126],
  ] as const) {
    const result = await run('run', '--', name);
    assert.equal(result.code, code, name);
    assert.match(result.err, /^Error: .*\n$/);
  }
  assert.equal((await run('run', '--cwd', 'lost', '--', 'true')).code, 125);
  assert.equal((await run('run', '--name', 'a/b', '--', 'true')).code, 125);
  assert.deepEqual(existsSync(join(home, 'runs')) ? await readdir(join(home, 'runs')) : [], []);
});

test("the launcher's exit code is the command's", async (t) => {
  const { env, root } = await install(t);
  const result = await exec(process.execPath, [bundle, 'run', '--', 'true'], {
    env: { ...env, LAUNCHER_EXIT: '42' },
    cwd: root,
  });
  assert.equal(result.code, 42);
});

for (const version of ['node20', 'node24']) {
  test(`${version} understands the quoting of NODE_OPTIONS`, async (t) => {
    const { root } = await install(t);
    const node = join(modules, version, 'bin/node');
    // Each name meets one value that the user may have set already.
    const owns = [undefined, '--no-warnings', '--title="a b"', '--require "ITSELF"'];
    const names = [
      'plain',
      'with blank',
      'with "quote"',
      'back\\slash',
      "single'quote",
      'mixed "\\" \\" end',
    ];
    for (const [index, name] of names.entries()) {
      const file = join(root, `${name}.cjs`);
      await writeFile(file, 'process.stdout.write("ours ")');
      const own = owns[index % owns.length]?.replace('--require "ITSELF"', () => withRequire('', file));
      const NODE_OPTIONS = withRequire(own, file);
      const result = await exec(node, ['-e', 'console.log("program")'], { env: { NODE_OPTIONS } });
      assert.deepEqual(result, { code: 0, out: 'ours program\n', err: '' }, NODE_OPTIONS);
    }
  });
}

test('NODE_OPTIONS and LD_PRELOAD keep what is there and take ours once', () => {
  const once = withRequire('--no-warnings', '/a/p.cjs');
  assert.equal(once, '--no-warnings --require "/a/p.cjs"');
  assert.equal(withRequire(once, '/a/p.cjs'), once);
  assert.equal(withPreload(undefined, '/s.so'), '/s.so');
  assert.equal(withPreload('/a.so /b.so', '/s.so'), '/a.so:/b.so:/s.so');
  assert.equal(withPreload('/s.so:/a.so', '/s.so'), '/s.so:/a.so');
  assert.deepEqual(['/a/b.so', '/a b.so', '/a:b.so', '/$LIB/b.so'].map(isPreloadable), [
    true,
    false,
    false,
    false,
  ]);
});
