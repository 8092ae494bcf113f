import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { nativeDirectory } from '@forkpoint/engine';
import { processContext, runCommandLine } from '../src/index.ts';
import { bundle, exec, install } from './helper.ts';

const VERBS = ['run', 'checkpoint', 'restore', 'ps', 'logs', 'kill', 'wait', 'inspect', 'setup', 'doctor'];

test('help names every verb, and every verb has examples', async () => {
  const help = async (...words: string[]): Promise<string> => {
    let out = '';
    const cli = { ...processContext(), writeOut: (text: string) => void (out += text) };
    assert.equal(await runCommandLine(cli, words, '1.2.3'), 0);
    return out;
  };
  const all = await help('help');
  for (const verb of VERBS) {
    assert.match(all, new RegExp(`^  ${verb} `, 'm'));
    assert.match(await help('help', verb), new RegExp(`Examples:\n  forkpoint ${verb}`), verb);
  }
  assert.equal(await help('--version'), '1.2.3\n');
});

test('help shows the default of a time or an age as it is typed', async (t) => {
  const { run } = await install(t);
  assert.match((await run('checkpoint', '--help')).out, /give up after this time\s+\(default: 60\)/);
  assert.match((await run('gc', '--help')).out, /from the cache\s+\(default: 7d\)/);
});

test('usage errors exit with 2, one line and a hint', async (t) => {
  const { run } = await install(t);
  for (const [args, err] of [
    [['chekpoint'], 'Error: Unknown command `chekpoint`\nHint: Did you mean `checkpoint`?\n'],
    [['help', 'restor'], 'Error: Unknown command `restor`\nHint: Did you mean `restore`?\n'],
    [['checkpoint'], 'Error: Missing required argument `run`\nHint: Run `forkpoint checkpoint --help`\n'],
    [
      ['checkpoint', 'x', '--compress=lz4'],
      'Error: There is no lz4, only zstd: measured, lz4 makes images 1.6 times as large, and is quicker only at what happens once per image (bench/NOTES.md)\n' +
        'Hint: Use --compress, or --compress=zstd\n',
    ],
    [
      ['checkpoint', 'x', '--compress=zst'],
      'Error: There is no codec called `zst`\nHint: Use --compress, or --compress=zstd\n',
    ],
    [['ps', '--jsn'], 'Error: Unknown option `--jsn`\nHint: Did you mean `--json`?\n'],
    [
      ['wait', 'x', '--timeout', '1x'],
      'Error: Option `--timeout <seconds>` argument `1x` is invalid. It is a number of seconds, such as 30 or 0.5\nHint: Run `forkpoint wait --help`\n',
    ],
    [
      ['restore-explain', 'usage', 'extra', '--', './img', 'extra'],
      "Error: Unexpected argument `extra`\nHint: Write -- before the program's arguments\n",
    ],
  ] as [string[], string][]) {
    assert.deepEqual(await run(...args), { code: 2, out: '', err }, args.join(' '));
  }
  const bare = await run();
  assert.deepEqual([bare.code, bare.out], [2, '']);
  assert.match(bare.err, /^Usage: forkpoint/);
});

test('`--compress` takes no name for its codec, wherever it stands', async (t) => {
  const { run } = await install(t);
  for (const words of [
    ['--compress', 'server'],
    ['--compress', 'server', 'warm'],
    ['server', '--compress', 'warm'],
    ['server', 'warm', '--compress'],
    ['--compress', 'zstd', 'server', 'warm'],
    ['--compress=zstd', 'server'],
  ])
    assert.match((await run('checkpoint', ...words)).err, /^Error: There is no run called `server`\n/);
});

test('what is not there is named, with a hint', async (t) => {
  const { run, root } = await install(t);
  assert.deepEqual(await run('checkpoint', 'server'), {
    code: 1,
    out: '',
    err: 'Error: There is no run called `server`\nHint: See the runs with `forkpoint ps --all`\n',
  });
  assert.deepEqual(await run('inspect', './img'), {
    code: 1,
    out: '',
    err: `Error: There is no image at ${root}/img\nHint: Take one with \`forkpoint checkpoint RUN DEST\`\n`,
  });
  assert.match((await run('checkpoint', 'server', 'img%x')).err, /"%x" is not known\nHint: The patterns are/);
});

test('without runs, ps has an empty array, and says so on stderr', async (t) => {
  const { run } = await install(t);
  assert.deepEqual(await run('ps', '--json'), { code: 0, out: '[]\n', err: '' });
  assert.deepEqual(await run('ps'), { code: 0, out: '', err: 'No run is alive.\n' });
});

test('a missing set-up is told with what to run, and 125', async (t) => {
  const { run, home } = await install(t, { isSetUp: false });
  assert.deepEqual(await run('run', '--', 'true'), {
    code: 125,
    out: '',
    err: `Error: This machine has not been set up for forkpoint\nCaused by: ${nativeDirectory(home)}/launcher is not there\nHint: Run \`forkpoint setup\`\n`,
  });
});

test('a restore that cannot work tells every reason, with 125; --or-run needs at least a manifest', async (t) => {
  const { run, root } = await install(t);
  await mkdir(join(root, 'img'));
  await writeFile(join(root, 'img', 'manifest.json'), '{"formatVersion":7}');
  const newer = await run('restore-explain', 'plan', `${root}/img`, '--', './img');
  assert.equal(newer.code, 125);
  assert.match(newer.err, /the image has format 7, and this forkpoint reads formats up to 2/i);
  const lost = await run('restore', './lost', '--or-run');
  assert.equal(lost.code, 125);
  assert.match(lost.err, /can neither be restored nor started afresh/);
});

test('a pipe that is closed early is no error', async (t) => {
  const { env, root } = await install(t);
  const script = `"$0" "${bundle}" help | head -c 1; exit 0`;
  const { err } = await exec('/bin/sh', ['-c', script, process.execPath], { env, cwd: root });
  assert.equal(err, '');
});
