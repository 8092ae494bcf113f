import type { Command } from 'commander';
import { diff } from '@forkpoint/supervisor/host';
import type { Changes, Comparison } from '@forkpoint/supervisor/host';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { bytesText, safeText } from '../ui/format.ts';
import { withWork } from '../ui/work.ts';
import { tableLines } from '../ui/table.ts';

const PAGE = 4096;
const COLUMNS = [
  { title: 'PID', isRight: true },
  { title: 'START', isRight: true },
  { title: 'SIZE', isRight: true },
  { title: 'CHANGED', isRight: true },
  { title: 'STATE' },
  { title: 'WHAT' },
];

/** Adds `forkpoint diff`. */
export function addDiff(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('diff')
    .summary('compare two images')
    .description(
      'Shows what image B has that A has not, and the other way round: processes, descriptors, names of environment variables, ' +
        'and for each memory area how many pages have other bytes.',
    )
    .argument('<image>', 'a path, or the name of an image')
    .argument('<other-image>', 'what it is compared with')
    .option('--json', 'print a JSON object')
    .addHelpText('after', '\nExamples:\n  forkpoint diff warm warm-2\n  forkpoint diff ./a ./b --json')
    .action(async (a: string, b: string, options: { json?: boolean }) => {
      const found = await withWork(cli, `Comparing ${a} and ${b}`, async (work) => await diff(a, b, work));
      cli.writeOut(options.json === true ? `${JSON.stringify(found, null, 2)}\n` : text(cli, found));
      finish(0);
    });
}

function text(cli: Cli, found: Comparison): string {
  const { changed, compared } = found.pages;
  const heading = (title: string): string => cli.paintOut('heading', title);
  const lines = [`${changed} of ${compared} pages differ (${bytesText(changed * PAGE)})`];
  lines.push(...listed(heading('Processes'), found.processes, String));
  lines.push(
    ...listed(
      heading('Descriptors'),
      found.descriptors,
      ({ pid, fd, kind, what }) => `${pid} ${fd} ${kind} ${what}`,
    ),
  );
  lines.push(...listed(heading('Environment'), found.environment, String));
  if (found.regions.length > 0) {
    const table = tableLines(COLUMNS, found.regions.map(cellsOf), cli.width);
    lines.push('', heading('Memory'), ...table);
  }
  return `${lines.join('\n')}\n`;
}

function listed<T>(title: string, { added, removed }: Changes<T>, told: (item: T) => string): string[] {
  if (added.length + removed.length === 0) return [];
  const line = (sign: string) => (item: T) => `${sign} ${safeText(told(item))}`;
  return ['', title, ...removed.map(line('-')), ...added.map(line('+'))];
}

function cellsOf(region: Comparison['regions'][number]): string[] {
  return [
    String(region.pid),
    region.start,
    bytesText(region.pages * PAGE),
    region.state === 'changed' ? String(region.changedPages) : '-',
    region.state,
    region.path ?? region.kind,
  ];
}
