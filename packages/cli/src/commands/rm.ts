import type { Command } from 'commander';
import { checkRemovable, listRuns, readEntry, removeImage, resolveImage, runsOf } from '@forkpoint/store';
import type { Run } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import { CliError, usageError } from '../error.ts';
import { collectPairs } from '../options.ts';
import type { Finish } from '../program.ts';
import { viewed } from '../store-view.ts';
import { withWork } from '../ui/work.ts';

interface Options {
  readonly label?: Record<string, string>;
  readonly force?: boolean;
  readonly dryRun?: boolean;
  readonly json?: boolean;
}

/** Adds `forkpoint rm`. */
export function addRm(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('rm')
    .summary('remove images')
    .description(
      'Removes images. Their descendants lose nothing, and programs that run from them go on; because such an image may still ' +
        'be wanted, it is only removed with --force.',
    )
    .argument('[images...]', 'paths or names')
    .option('--label <name=value>', 'all images of the store with this label (repeatable)', collectPairs)
    .option('-f, --force', 'also images from which programs run, and damaged ones')
    .option('--dry-run', 'only say what would be removed')
    .option('--json', 'print what was removed as a JSON array')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint rm warm ./images/old\n  forkpoint rm --label app=shop --dry-run',
    )
    .action(async (names: string[], options: Options) => {
      finish(await remove(cli, names, options));
    });
}

async function remove(cli: Cli, names: readonly string[], options: Options): Promise<number> {
  if (names.length === 0 && options.label === undefined)
    throw usageError('missing required argument `images`', 'Run `forkpoint rm --help`');
  const paths = new Set(names.map((name) => resolveImage(name, cli.cwd, cli.places.images)));
  if (options.label !== undefined) {
    for (const { path } of (await viewed(cli, undefined, options.label)).images) paths.add(path);
  }
  const runs = await listRuns(cli.places.runs);
  // All are looked at before the first one goes.
  for (const path of paths) {
    if (options.force !== true) await refuseBusy(path, runs);
    await checkRemovable(path, { isForced: options.force === true });
  }
  const work = async ({ signal }: { signal: AbortSignal }): Promise<void> => {
    for (const path of paths) {
      // What has begun to go is gone before Ctrl-C counts.
      signal.throwIfAborted();
      if (options.dryRun !== true) await removeImage(path, { isForced: options.force === true });
      if (options.json !== true)
        cli.writeErr(`${options.dryRun === true ? 'Would remove' : 'Removed'} ${path}.\n`);
    }
  };
  await withWork(cli, 'Removing', work, 'what was not removed yet is as it was');
  if (options.json === true) {
    const removed = [...paths].map((path) => ({ path, dryRun: options.dryRun === true }));
    cli.writeOut(`${JSON.stringify(removed, null, 2)}\n`);
  }
  return 0;
}

async function refuseBusy(path: string, runs: readonly Run[]): Promise<void> {
  const users = runsOf(await readEntry(path).catch(explain), runs);
  if (users.length === 0) return;
  throw new CliError(`programs run from the image ${path}`, {
    code: 'ERR_FORKPOINT_IN_USE',
    causes: users.map(({ name, id }) => `${name} (${id})`),
    hint: 'End them with `forkpoint kill RUN`, or remove the image all the same with --force: they go on',
  });

  function explain(error: unknown): never {
    const errno = error instanceof Error && 'code' in error ? error.code : undefined;
    if (errno !== 'ENOENT' && errno !== 'ENOTDIR') throw error;
    throw new CliError(`there is no image at ${path}`, {
      code: 'ERR_FORKPOINT_IMAGE_NOT_FOUND',
      hint: 'See the images with `forkpoint ls`',
    });
  }
}
