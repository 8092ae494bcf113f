import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createPerson, eventually, root } from '@forkpoint/testkit';

/** Runs the smallest size of a benchmark and returns what it printed; it may leave neither files nor runs. */
async function smoke(name: string): Promise<string> {
  const person = createPerson();
  try {
    const { code, stdout, stderr } = await person
      .start([process.execPath, join(root, 'bench/smoke.mjs'), name, person.home], { timeoutMs: 300_000 })
      .end();
    assert.equal(code, 0, stderr + stdout);
    const leftovers = ['-name', 'stock-*', '-o', '-name', 'bench-*'];
    const left = await promisify(execFile)('find', [person.home, ...leftovers]);
    assert.equal(left.stdout, '');
    await eventually(
      async () => ((await person.json(['ps'])) as unknown[]).length === 0 || undefined,
      'every run having ended',
    );
    return stdout;
  } finally {
    await person.leave();
  }
}

test('the restore benchmark measures the same program every time, and prints ratios', async () => {
  const stdout = await smoke('restore');
  assert.match(stdout, /stock criu \/ forkpoint +\d+\.\d+ \(\d/);
  assert.match(stdout, /our own part, all but CRIU +\d/);
  assert.match(stdout, /answers +[0-9a-f]{16} +the same in all/);
});

test('the load benchmark sees no error, and prints the longest stall beside the time that CRIU froze the program', async () => {
  const stdout = await smoke('load');
  assert.match(stdout, /^50 connections, 2 checkpoints, \d+ answers, 0 errors, 0 connections made anew$/m);
  assert.match(stdout, /^longest stall +\d+\.\d ms$/m);
  assert.match(stdout, /^frozen by CRIU +\d+\.\d ms$/m);
});

test('the image benchmark restores the same heaps every time, and counts what a restore reads', async () => {
  const stdout = await smoke('image');
  const read = (name: string): number =>
    Number(new RegExp(`^${name}.*?\\)(?: +-| +[\\d.]+ \\(.*?\\)) +([\\d.]+)`, 'm').exec(stdout)?.[1]);
  assert.ok(read('C 32 MB, stock') > 32, stdout);
  assert.ok(read('C 32 MB, linked') < 1, stdout);
  const areas = (name: string): number =>
    Number(new RegExp(`^Node [\\d.]+, ${name}, linked .* (\\d+)$`, 'm').exec(stdout)?.[1]);
  // V8's chunks lie side by side, unless the program's environment forbids it.
  assert.ok(areas('24 MB') + 50 < areas('24 MB, no address hints'), stdout);
  assert.match(stdout, /^C 32 MB +image .* digest [0-9a-f]{16}, the same in all$/m);
  assert.match(stdout, /^Node [\d.]+, 24 MB, no address hints +image .* the same in all$/m);
  assert.match(stdout, /^plain \/ clone, idle: .* answers [0-9a-f]{16}, the same in all$/m);
  assert.match(stdout, /^image of generation 1 .* answers [0-9a-f]{16}, the same in all$/m);
});

test('the chain benchmark compares checkpoints of one heap and the first and last image of chains', async () => {
  const stdout = await smoke('chain');
  const written = (name: string): number =>
    Number(new RegExp(`^${name} .* ([\\d.]+) \\([\\d.]+\\.\\.[\\d.]+\\)$`, 'm').exec(stdout)?.[1]);
  assert.ok(written('full') > 32 && written('incremental') < 3, stdout);
  assert.match(stdout, /^chain of 2, C: .* last \/ first \d+\.\d\d .*; \d page files in the last$/m);
  assert.match(stdout, /^chain of 2, Node: .* last \/ first \d+\.\d\d /m);
});

test('the cold benchmark trains an image and gets one answer from all starts', async () => {
  const stdout = await smoke('cold');
  assert.match(stdout, /^trained, cold \/ stock criu, cold +\d+\.\d\d/m);
  assert.match(stdout, /^touched \d+\.\d MB of \d+\.\d MB, read ahead .*; 1 answer in all$/m);
});

test('the fork benchmark has three children answer, a clone handed over, and children killed under load without a failed request', async () => {
  const stdout = await smoke('fork');
  assert.match(stdout, /^fork\(\{ count: 3 \}\) +\d/m);
  assert.match(stdout, /^ {2}5 MB dirty +stall \d.*, beyond it -?\d/m);
  assert.match(stdout, /^2 children, all answering +\d/m);
  assert.match(stdout, /^parked clone, first line after acquire +\d/m);
  assert.match(stdout, /^load: .* [1-9]\d* answers by .* 0 failed$/m);
});

test('the store benchmark restores what it has compressed, holds equal files once, and lists many images with few files opened', async () => {
  const stdout = await smoke('store');
  const megabytes = (name: string): number =>
    Number(new RegExp(`^${name} +([\\d.]+) MB$`, 'm').exec(stdout)?.[1]);
  assert.ok(Number(/^ratio +(\d+\.\d)/m.exec(stdout)?.[1]) > 2, stdout);
  assert.match(stdout, /^compressed \/ raw +\d+\.\d\d/m);
  // Both have the page files of the first: once as they are taken, twice when each is compressed by itself.
  assert.ok(megabytes('each compressed') < megabytes('raw'), stdout);
  assert.ok(megabytes('after gc --dedup') < megabytes('each compressed') * 0.75, stdout);
  assert.match(stdout, /^a store of 30 images /m);
  assert.match(stdout, /^gc --dry-run +\d.* [1-9] files, \d+ directories /m);
});

test('the serve benchmark has node:cluster and workers of forkpoint serve answer, replaces killed ones without a failed request, and leaves nothing behind', async () => {
  const printed = await smoke('serve');
  assert.match(printed, /^node:cluster +\d+ \(\d+\.\.\d+\)/m);
  assert.match(printed, /^from an image +\d+ \(.*\) +[\d.]+ \(.*\) +5: (met|missed)$/m);
  assert.match(printed, /^serve, refork on +\d+ +\d+$/m);
  assert.match(printed, /^first 20 requests of a replaced worker, ms +[\d.]+ /m);
  assert.match(
    printed,
    /^load for 2 s +\d+ answers, [1-9]\d* workers killed and one reload, \d+ requests cut on killed workers, 0 failed: met$/m,
  );
  assert.match(printed, /^after kill -9 of the server +0 processes left: met$/m);
});

test('the benchmark of test suites has equal reports and coverage of the pools forks and forkpoint, with and without isolation', async () => {
  const printed = await smoke('tests');
  assert.match(printed, /^express, 4 files +\d+ .* 11 \(1\) +\d+ +4$/m);
  assert.match(printed, /^forks and forkpoint reported the same in every round, coverage included$/m);
});
