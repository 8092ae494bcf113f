import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { install, MANIFEST } from './helper.ts';

test('verbs, options, topics, images, slots and kinds of files are completed', async (t) => {
  const { run, home } = await install(t);
  await mkdir(join(home, 'images', 'warm'), { recursive: true });
  await writeFile(join(home, 'images', 'warm', 'manifest.json'), JSON.stringify(MANIFEST));
  for (const [words, values, directive] of [
    [['che'], ['checkpoint', 'check-clones'], 'nothing'],
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
