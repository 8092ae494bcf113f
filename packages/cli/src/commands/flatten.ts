import type { Command } from 'commander';
import { flatten } from '@forkpoint/supervisor/host';
import type { FlattenResult } from '@forkpoint/supervisor/host';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { checkSetup } from '../prepare-run.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { withWork } from '../ui/work.ts';

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
  await checkSetup(cli, packageFiles(cli.lib, cli.places.home));
  const started = performance.now();
  const flat = await withWork(
    cli,
    `Flattening ${argument}`,
    async (work) => await flatten(argument, { ...work, to: dest, sync: options.sync }),
  );
  report(cli, flat, performance.now() - started, options.json === true);
}

function report(cli: Cli, flat: FlattenResult, elapsedMs: number, isJson: boolean): void {
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
