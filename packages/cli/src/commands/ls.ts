import type { Command } from 'commander';
import { list } from '@forkpoint/supervisor/host';
import type { ListedImage } from '@forkpoint/supervisor/host';
import type { Cli } from '../context.ts';
import { collectPairs } from '../options.ts';
import type { Finish } from '../program.ts';
import { ageOf, labelsText, warnOfDamaged } from '../store-view.ts';
import { bytesText, commandText, durationText } from '../ui/format.ts';
import { tableLines } from '../ui/table.ts';

const COLUMNS = [
  { title: 'NAME' },
  { title: 'ID' },
  { title: 'GEN', isRight: true },
  { title: 'AGE', isRight: true },
  { title: 'SIZE', isRight: true },
  { title: 'RUNS', isRight: true },
  { title: 'LABELS' },
  { title: 'COMMAND' },
];

/** Adds `forkpoint ls`. */
export function addLs(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('ls')
    .summary('list the images of the store')
    .description('Lists the images of the store, oldest first, or those in another directory.')
    .argument('[dir]', 'a directory of images instead of the store')
    .option('--label <name=value>', 'only images with this label (repeatable)', collectPairs)
    .option('--json', 'print an array of JSON objects')
    .addHelpText('after', '\nExamples:\n  forkpoint ls\n  forkpoint ls --label app=shop --json')
    .action(async (dir: string | undefined, options: { label?: Record<string, string>; json?: boolean }) => {
      const { images, damaged } = await list({
        home: cli.places.home,
        cwd: cli.cwd,
        directory: dir,
        labels: options.label,
      });
      warnOfDamaged(cli, damaged);
      if (options.json === true) {
        const shown = [
          ...images.map((image) => ({ ...image, damaged: null })),
          ...damaged.map(({ name, path, reason }) => ({ name, path, damaged: reason })),
        ];
        cli.writeOut(`${JSON.stringify(shown, null, 2)}\n`);
      } else if (images.length === 0) cli.writeErr('There is no image.\n');
      else {
        const rows = images.map(cellsOf);
        const [heading = '', ...body] = tableLines(COLUMNS, rows, cli.width);
        cli.writeOut(`${[cli.paintOut('heading', heading), ...body].join('\n')}\n`);
      }
      finish(0);
    });
}

function cellsOf(image: ListedImage): string[] {
  const packed = image.compression === null ? '' : ` ${image.compression}`;
  return [
    image.name,
    image.id,
    String(image.generation),
    durationText(ageOf(image)),
    `${bytesText(image.ownBytes + image.sharedBytes)}${packed}`,
    String(image.runs.length),
    labelsText(image) || '-',
    commandText(image.command),
  ];
}
