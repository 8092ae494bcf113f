import type { Command } from 'commander';
import { lineageOf } from '@forkpoint/store';
import { listedImage } from '@forkpoint/supervisor/host';
import type { StoreView } from '@forkpoint/supervisor/host';
import type { LineageNode } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { ageOf, labelsText, viewed } from '../store-view.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { tableLines } from '../ui/table.ts';

const COLUMNS = [
  { title: 'IMAGE' },
  { title: 'GEN', isRight: true },
  { title: 'AGE', isRight: true },
  { title: 'OWN', isRight: true },
  { title: 'SHARED', isRight: true },
  { title: 'LABELS' },
  { title: 'RUNS' },
];

/** Adds `forkpoint tree`. */
export function addTree(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('tree')
    .summary('show how the images descend from each other')
    .description(
      'Shows which image was taken from a run of which, with the bytes that only it has (OWN) and that other images or ' +
        'running programs have as well (SHARED). Every image is complete: removing one harms none below it.',
    )
    .argument('[dir]', 'a directory of images instead of the store')
    .option('--json', 'print an array of JSON objects, each with its children')
    .addHelpText('after', '\nExamples:\n  forkpoint tree\n  forkpoint tree ./images --json')
    .action(async (dir: string | undefined, options: { json?: boolean }) => {
      const view = await viewed(cli, dir);
      const roots = lineageOf(view.images);
      if (options.json === true) {
        const shown = roots.map((node) => nodeJson(node, view));
        cli.writeOut(`${JSON.stringify(shown, null, 2)}\n`);
      } else if (roots.length === 0) cli.writeErr('There is no image.\n');
      else {
        const rows = roots.flatMap((node) => rowsOf(node, view, { lead: '', rest: '' }));
        const [heading = '', ...body] = tableLines(COLUMNS, rows, cli.width);
        const { totalBytes, runningOnlyBytes } = view.usage;
        const held = runningOnlyBytes === 0 ? '' : `, and ${bytesText(runningOnlyBytes)} that only runs hold`;
        cli.writeOut(`${[cli.paintOut('heading', heading), ...body].join('\n')}\n`);
        cli.writeErr(`${view.images.length} images, ${bytesText(totalBytes)}${held}.\n`);
      }
      finish(0);
    });
}

function nodeJson({ image, children }: LineageNode, view: StoreView): Record<string, unknown> {
  return { ...listedImage(image, view), children: children.map((child) => nodeJson(child, view)) };
}

function rowsOf(
  { image, children }: LineageNode,
  view: StoreView,
  { lead, rest }: { lead: string; rest: string },
): string[][] {
  const { ownBytes, sharedBytes, runs } = listedImage(image, view);
  const own = [
    `${lead}${image.name}`,
    String(image.generation),
    durationText(ageOf(image)),
    bytesText(ownBytes),
    bytesText(sharedBytes),
    labelsText(image) || '-',
    runs.map(({ name }) => name).join(' ') || '-',
  ];
  return [
    own,
    ...children.flatMap((child, index) => {
      const isLast = index === children.length - 1;
      return rowsOf(child, view, {
        lead: `${rest}${isLast ? '└─ ' : '├─ '}`,
        rest: `${rest}${isLast ? '   ' : '│  '}`,
      });
    }),
  ];
}
