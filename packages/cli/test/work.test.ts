import assert from 'node:assert/strict';
import { linkSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { temporaryName } from '@forkpoint/store';
import { eventually } from '@forkpoint/testkit';
import { processContext } from '../src/context.ts';
import type { Cli } from '../src/context.ts';
import { withWork } from '../src/ui/work.ts';
import { writtenBy } from '../src/ui/written.ts';

/** A command line whose stderr is a terminal or a pipe, and what was written to it. */
function speaking(isErrTerminal: boolean): { cli: Cli; said: () => string } {
  let said = '';
  const cli = { ...processContext(), isErrTerminal, writeErr: (text: string) => void (said += text) };
  return { cli, said: () => said };
}

const halfway = {
  step: 'compress',
  doneBytes: 2e8,
  totalBytes: 4e8,
  bytesPerSecond: 1e8,
  leftMs: 2000,
} as const;

test('work that takes longer than 250 ms shows bytes, rate and the time that is left on a terminal, and takes it away', async () => {
  const { cli, said } = speaking(true);
  const started = performance.now();
  await withWork(cli, 'Compressing warm', async ({ onProgress }) => {
    onProgress?.(halfway);
    await eventually(() => said() || undefined, 'progress');
  });
  assert.ok(performance.now() - started >= 250);
  assert.match(said(), /^\r\S+ Compressing warm 200 MB of 400 MB, 100 MB\/s, 2\.0 s left, \d+\.\d s/);
  assert.match(said(), /\r\S+$/);
});

test('a checkpoint shows how much of its image is written, and how fast, without what it shares with others', () => {
  const directory = mkdtempSync(join(tmpdir(), 'fp-written-'));
  try {
    const run = 'abcdefabcdef';
    let nowMs = 5000;
    const written = writtenBy(run, directory, () => nowMs);
    assert.equal(written(), '');
    const draft = join(directory, temporaryName('warm', run));
    mkdirSync(join(draft, 'layers'), { recursive: true });
    mkdirSync(join(directory, temporaryName('other', '0123456789ab')));
    writeFileSync(join(draft, 'pages-1.img'), Buffer.alloc(2_000_000));
    assert.equal(written(), '2.0 MB,');
    writeFileSync(join(draft, 'layers/a.pages'), Buffer.alloc(3_000_000));
    writeFileSync(join(directory, 'shared'), Buffer.alloc(1000));
    linkSync(join(directory, 'shared'), join(draft, 'layers/b.pages'));
    nowMs += 500;
    assert.equal(written(), '5.0 MB, 6.0 MB/s,');
    assert.equal(writtenBy(run, join(directory, 'absent'))(), '');
  } finally {
    rmSync(directory, { recursive: true });
  }
});

test('quick work, and work whose stderr is a pipe, say nothing', async () => {
  for (const isTerminal of [true, false]) {
    const { cli, said } = speaking(isTerminal);
    await withWork(cli, 'Compressing warm', async ({ onProgress }) => {
      onProgress?.(halfway);
      await Promise.resolve();
    });
    assert.equal(said(), '');
  }
});
