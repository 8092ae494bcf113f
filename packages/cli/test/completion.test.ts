import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { install } from './helper.ts';

/** A manifest with one TCP slot, as far as completion reads it. */
const MANIFEST = {
  formatVersion: 1,
  id: 'aaaaaaaaaaaa',
  parentId: null,
  generation: 0,
  createdAt: '2026-01-01T00:00:00.000Z',
  command: ['node'],
  cwd: '/',
  runtime: null,
  host: { arch: 'x86_64', cpu: [], kernel: '6', glibc: null },
  engine: { criu: '4.2', forkpoint: '0' },
  processes: [{ pid: 2, parentPid: 1, threads: [2], command: ['node'] }],
  slots: [
    {
      id: 'web',
      kind: 'tcp',
      key: 'k',
      flags: 2,
      isPollable: true,
      fds: [],
      family: 4,
      address: '127.0.0.1',
      port: 3000,
      backlog: 5,
      options: [],
    },
  ],
  clocks: { takenMs: 0, monotonic: { seconds: 1, nanoseconds: 0 }, boottime: { seconds: 1, nanoseconds: 0 } },
  files: [],
  layers: [],
  labels: {},
  warmup: null,
  score: null,
  reseed: false,
  origin: { run: 'bbbbbbbbbbbb', name: 'x' },
  controlDirectory: '/x',
  members: [],
};

test('verbs, options, topics, images, slots and kinds of files are completed', async (t) => {
  const { run, home } = await install(t);
  await mkdir(join(home, 'images', 'warm'), { recursive: true });
  await writeFile(join(home, 'images', 'warm', 'manifest.json'), JSON.stringify(MANIFEST));
  for (const [words, values, directive] of [
    [['che'], ['checkpoint'], 'nothing'],
    [['help', 'im'], ['images'], 'nothing'],
    [['restore', '--or'], ['--or-run'], 'nothing'],
    [['restore', ''], ['warm'], 'dirs'],
    [['restore', 'warm', '--listen', ''], ['web='], 'nothing'],
    [['restore', 'warm', '--listen=w'], ['--listen=web='], 'nothing'],
    [['restore', '--name', ''], [], 'nothing'],
    [['restore', 'warm', '--', ''], [], 'files'],
    [['run', '--cwd', ''], [], 'dirs'],
    [['run', '--', ''], [], 'commands'],
    [['run', 'node', '--de'], [], 'files'],
    [['kill', '-s', 'SIGT'], ['SIGTERM'], 'nothing'],
    [['completion', 'f'], ['fish'], 'nothing'],
    [['nonsense', ''], [], 'nothing'],
  ] as [string[], string[], string][]) {
    const { out, code } = await run('__complete', ...words);
    const lines = out.trimEnd().split('\n');
    assert.equal(code, 0);
    assert.deepEqual(
      [lines.slice(0, -1).map((line) => line.split('\t')[0]), lines.at(-1)],
      [values, `:${directive}`],
      words.join(' '),
    );
  }
});

test('bash completes with the script, also behind an equals sign', async (t) => {
  const { env, root, home } = await install(t);
  await mkdir(join(home, 'images', 'warm'), { recursive: true });
  await writeFile(join(home, 'images', 'warm', 'manifest.json'), JSON.stringify(MANIFEST));
  const script = `
    PATH=${JSON.stringify(join(root, 'lib/bin'))}:$PATH
    compopt() { :; }
    eval "$(forkpoint completion bash)"
    press() { COMP_LINE=$1; COMP_POINT=\${#1}; shift; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _forkpoint; echo "\${COMPREPLY[*]}"; }
    press 'forkpoint chec' forkpoint chec
    press 'forkpoint restore w' forkpoint restore w
    press 'forkpoint restore warm --listen=' forkpoint restore warm --listen =
    press 'forkpoint restore warm --listen=we' forkpoint restore warm --listen = we
    press 'forkpoint wait ' forkpoint wait ''
  `;
  const { stdout } = await promisify(execFile)('bash', ['-c', script], { env, timeout: 10_000 });
  assert.deepEqual(stdout.split('\n'), ['checkpoint', 'warm', 'web=', 'web=', '', '']);
});

test('an unknown shell is refused', async (t) => {
  const { run } = await install(t);
  assert.deepEqual(await run('completion', 'tcsh'), {
    code: 2,
    out: '',
    err: 'Error: There is no completion for `tcsh`\nHint: Choose bash, zsh or fish\n',
  });
});

test('every topic is shown, listed in the help, and fits a terminal', async (t) => {
  const { run } = await install(t);
  const { out: help } = await run('help');
  for (const topic of ['images', 'slots', 'hooks', 'restore', 'environment', 'exit-codes', 'from-crac']) {
    assert.match(help, new RegExp(`^  ${topic} `, 'm'));
    const { out, code } = await run('help', topic);
    assert.equal(code, 0);
    assert.ok(out.length > 300, topic);
    for (const line of out.split('\n')) assert.ok(line.length <= 130, line);
  }
});
