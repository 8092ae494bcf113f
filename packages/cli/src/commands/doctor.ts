import type { Command } from 'commander';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';
import { safeText } from '../ui/format.ts';

/** Adds `forkpoint doctor`. */
export function addDoctor(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('doctor')
    .summary('check what this machine can do')
    .description(
      'Checks everything that forkpoint needs of this machine, and says what to do about what is missing.',
    )
    .option('--json', 'print an array of JSON objects')
    .addHelpText('after', '\nExamples:\n  forkpoint doctor\n  forkpoint doctor --json')
    .action(async (options: { json?: boolean }) => {
      const { doctor, nativeDirectory } = await import('@forkpoint/engine');
      const rows = await doctor({ home: cli.places.home, nativeDir: nativeDirectory(cli.places.home) });
      if (options.json === true) {
        cli.writeOut(`${JSON.stringify(rows, null, 2)}\n`);
      } else {
        const width = rows.reduce((most, row) => Math.max(most, row.name.length), 0);
        for (const row of rows) {
          const mark = row.ok ? cli.paintOut('success', 'ok  ') : cli.paintOut('error', 'FAIL');
          cli.writeOut(`${mark}  ${row.name.padEnd(width)}  ${safeText(row.detail)}\n`);
          if (!row.ok && row.hint !== undefined)
            cli.writeOut(`      ${cli.paintOut('hint', 'Hint:')} ${safeText(row.hint)}\n`);
        }
      }
      finish(rows.every((row) => row.ok) ? 0 : 1);
    });
}
