import type { Command } from 'commander';
import { checkPattern } from '@forkpoint/manifest';
import { flatten, launcherExchange, resolveImage } from '@forkpoint/store';
import type { Flattened, FlattenProgress } from '@forkpoint/store';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import type { Finish } from '../program.ts';
import { checkSetup } from '../prepare-run.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { withProgress } from '../ui/progress.ts';

interface Options {
  readonly sync: boolean;
  readonly json?: boolean;
}

/** Adds `forkpoint flatten`. */
export function addFlatten(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('flatten')
    .summary('gather what an image has inherited')
    .description(
      'Writes the memory of an image to one new page file per process, however many generations are behind it, so that a ' +
        'restore makes few mappings and copies little. Long chains are flattened in the background by themselves.\n\n' +
        'The image is replaced at once and as a whole, or a flat copy is made at DEST. Programs that run from it are not touched.',
    )
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .argument('[dest]', 'where the flat image goes (default: in the place of the old one)')
    .option('--no-sync', 'do not wait for the disk')
    .option('--json', 'print what was made as JSON')
    .addHelpText('after', '\nExamples:\n  forkpoint flatten ./warm\n  forkpoint flatten base ./my-base')
    .action(async (image: string, dest: string | undefined, options: Options) => {
      await run(cli, image, dest, options);
      finish(0);
    });
}

async function run(cli: Cli, argument: string, dest: string | undefined, options: Options): Promise<void> {
  const image = resolveImage(argument, cli.cwd, cli.places.images);
  if (dest !== undefined) checkPattern(dest);
  const to = dest === undefined ? undefined : resolveImage(dest, cli.cwd, cli.places.images);
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new CliError('interrupted; the image is as it was'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const started = performance.now();
  let progress: FlattenProgress | undefined;
  try {
    const flat = await withProgress(
      cli,
      () => labelOf(argument, progress),
      () =>
        flatten(image, {
          exchange: launcherExchange(files.launcher),
          signal: abort.signal,
          sync: options.sync,
          onProgress: (step) => (progress = step),
          ...(to === undefined ? {} : { to }),
        }),
    );
    report(cli, flat, performance.now() - started, options.json === true);
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

function labelOf(image: string, progress: FlattenProgress | undefined): string {
  const share =
    progress === undefined || progress.total === 0
      ? ''
      : ` ${Math.floor((100 * progress.done) / progress.total)}%`;
  return `Flattening ${image}${share}`;
}

function report(cli: Cli, flat: Flattened, elapsedMs: number, isJson: boolean): void {
  const { image, manifest, before, after, bytes } = flat;
  if (isJson) {
    const { id, generation } = manifest;
    cli.writeOut(
      `${JSON.stringify({ id, image, name: manifest.origin.name, generation, bytes, before, after })}\n`,
    );
    return;
  }
  cli.writeErr(
    `${cli.paintErr('success', 'Flattened')} ${image} (${bytesText(bytes)}, ${durationText(elapsedMs)}): ` +
      `${before.mappings} mappings became ${after.mappings}, ${before.copiedPages} copied pages ${after.copiedPages}.\n`,
  );
  cli.writeOut(`${image}\n`);
}
