import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Command } from 'commander';
import { errnoOf, findRun, waitForExit } from '@forkpoint/store';
import type { Run } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import type { Finish } from '../program.ts';

const PIECE_BYTES = 65_536;
const FOLLOW_MS = 100;

/** Adds `forkpoint logs`. */
export function addLogs(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('logs')
    .summary('show the output of a detached run')
    .description(
      'Shows what a detached run has written to its output. A run in the foreground writes to its terminal instead.',
    )
    .argument('<run>', 'name of a run, or the start of its id')
    .option('-f, --follow', 'go on until the run ends')
    .option('--launcher', 'what the launcher, the worker and CRIU said')
    .addHelpText('after', '\nExamples:\n  forkpoint logs server\n  forkpoint logs server -f')
    .action(async (name: string, options: { follow?: boolean; launcher?: boolean }) => {
      const run = await findRun(cli.places.runs, name);
      await show(run, {
        isFollowed: options.follow === true,
        file: options.launcher === true ? 'launcher.log' : 'log',
      });
      finish(0);
    });
}

async function show(run: Run, options: { isFollowed: boolean; file: string }): Promise<void> {
  const handle = await openLog(run, options.file);
  if (handle === undefined) return;
  try {
    let isOver = !options.isFollowed || !run.isAlive;
    const end = isOver ? Promise.resolve(null) : waitForExit(run).finally(() => (isOver = true));
    // An error of the wait is thrown by the await at the end; until then only that it is over counts.
    const over = end.catch(() => undefined);
    for (;;) {
      const wasOver = isOver;
      await copy(handle);
      if (wasOver) break;
      await Promise.race([over, new Promise((resolve) => setTimeout(resolve, FOLLOW_MS))]);
    }
    await end;
  } finally {
    await handle.close();
  }
}

async function openLog(run: Run, file: string): Promise<FileHandle | undefined> {
  try {
    return await open(join(run.dir, file), 'r');
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    if (file !== 'log' || run.isDetached) return undefined;
    throw new CliError(`the run \`${run.name}\` has no log: its output goes to where it was started`, {
      hint: 'Start it with `forkpoint run -d` or `forkpoint restore -d` to keep its output',
    });
  }
}

async function copy(handle: FileHandle): Promise<void> {
  for (;;) {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(PIECE_BYTES), 0, PIECE_BYTES, null);
    if (bytesRead === 0) return;
    // A slow reader must not make the whole log pile up in memory.
    await new Promise<void>((resolve) =>
      process.stdout.write(buffer.subarray(0, bytesRead), () => resolve()),
    );
  }
}
