import type { Command } from 'commander';
import { heldByRuns, listRuns, readEntry, resolveImage, usageOf } from '@forkpoint/store';
import type { ImageEntry, StoreUsage } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { viewed } from '../store-view.ts';
import { bytesText } from '../ui/format.ts';
import { tableLines } from '../ui/table.ts';

const COLUMNS = [{ title: 'OWN', isRight: true }, { title: 'SHARED', isRight: true }, { title: 'IMAGE' }];

/** Adds `forkpoint du`. */
export function addDu(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('du')
    .summary('show the disk space of images')
    .description(
      'Shows the bytes on the disk that go when an image is removed (OWN) and those that stay because other images of the ' +
        'list or running programs have them too (SHARED). A file with several names counts once in the total.',
    )
    .argument('[images...]', 'paths or names (default: all of the store)')
    .option('--json', 'print a JSON object')
    .addHelpText('after', '\nExamples:\n  forkpoint du\n  forkpoint du ./warm ./next --json')
    .action(async (names: string[], options: { json?: boolean }) => {
      const { images, usage } = await measured(cli, names);
      if (options.json === true) {
        const shown = images.map(({ name, path, id }) => ({ name, path, id, ...usage.byPath.get(path) }));
        const { totalBytes, runningOnlyBytes } = usage;
        cli.writeOut(`${JSON.stringify({ images: shown, totalBytes, runningOnlyBytes }, null, 2)}\n`);
      } else cli.writeOut(text(cli, images, usage));
      finish(0);
    });
}

async function measured(
  cli: Cli,
  names: readonly string[],
): Promise<{ images: readonly ImageEntry[]; usage: StoreUsage }> {
  if (names.length === 0) return await viewed(cli);
  const paths = new Set(names.map((name) => resolveImage(name, cli.cwd, cli.places.images)));
  const images: ImageEntry[] = [];
  for (const path of paths) images.push(await readEntry(path));
  return { images, usage: usageOf(images, await heldByRuns(await listRuns(cli.places.runs))) };
}

function text(cli: Cli, images: readonly ImageEntry[], usage: StoreUsage): string {
  const rows = images.map(({ name, path }) => {
    const { ownBytes = 0, sharedBytes = 0 } = usage.byPath.get(path) ?? {};
    return [bytesText(ownBytes), bytesText(sharedBytes), name];
  });
  const [heading = '', ...body] = tableLines(COLUMNS, rows, cli.width);
  const total = `${bytesText(usage.totalBytes)} in all; ${bytesText(usage.runningOnlyBytes)} more are held by runs only`;
  return `${[cli.paintOut('heading', heading), ...body, total].join('\n')}\n`;
}
