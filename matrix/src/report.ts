import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Result } from './drive.ts';
import type { Family } from './family.ts';

/** One line of the table. */
export interface Row {
  readonly family: Family;
  /** As `24.21.0`. */
  readonly node: string;
  readonly result: Result;
}

/** Returns `docs/matrix.md` as text, from the rows of all versions of Node.js. `modules` tells the versions of packages. */
export function report(rows: readonly Row[], modules: string): string {
  const lines = [
    '# Matrix of programs',
    '',
    'Written by `npm run matrix -- node`; do not edit.',
    '',
    'Each program comes from npm and runs unchanged, as an ordinary user. It is started with `forkpoint run`, probed,',
    'checkpointed while four clients ask it, restored twice at once while the original goes on, and probed again: right',
    'answers, no random value twice, complete logs. Then one clone is checkpointed, and restored from that image. No request',
    'to the original may fail meanwhile.',
    '',
    '`first checkpoint` and `two restores` are wall-clock times of the commands, the latter of both together; `image` is disk space.',
  ];
  for (const node of [...new Set(rows.map((row) => row.node))]) {
    const own = rows.filter((row) => row.node === node);
    const good = own.filter(({ result }) => result.status === 'works').length;
    lines.push('', `## Node.js ${node}: ${good} of ${own.length} work`, '');
    lines.push(
      '| program | versions | result | start to right answers | first checkpoint | two restores | image |',
      '|---|---|---|---|---|---|---|',
    );
    for (const row of own) lines.push(line(row, modules));
  }
  return `${lines.join('\n')}\n`;
}

function line({ family, node, result }: Row, modules: string): string {
  const { startMs, checkpointMs, restoreMs, imageBytes } = result.figures;
  const versions = family.packages.map((name) =>
    name === 'node' ? `node ${node}` : `${name} ${versionOf(name, modules)}`,
  );
  const cells = [
    family.title,
    versions.join(', '),
    [outcome(result), ...result.notes].join('; '),
    ...[startMs, checkpointMs, restoreMs].map((ms) => (ms === undefined ? '' : `${Math.round(ms)} ms`)),
    imageBytes === undefined ? '' : `${(imageBytes / 2 ** 20).toFixed(0)} MiB`,
  ];
  return `| ${cells.map((cell) => cell.replaceAll('|', '\\|').replaceAll(/\s*\n\s*/g, ' ')).join(' | ')} |`;
}

function outcome({ status, text }: Result): string {
  return status === 'works' ? 'works' : `${status} (${text})`;
}

function versionOf(name: string, modules: string): string {
  const { version } = JSON.parse(readFileSync(join(modules, name, 'package.json'), 'utf8')) as {
    version: string;
  };
  return version;
}
