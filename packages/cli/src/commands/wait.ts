import type { Command } from 'commander';
import { findRun, waitForExit } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import { secondsToMs } from '../options.ts';
import type { Finish } from '../program.ts';

/** Adds `forkpoint wait`. */
export function addWait(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('wait')
    .summary('wait for the end of a run')
    .description("Waits until a run has ended, and ends with its program's exit code.")
    .argument('<run>', 'name of a run, or the start of its id')
    .option('--timeout <seconds>', 'give up after this time', secondsToMs)
    .option('--json', 'print the exit code as JSON, and end with 0')
    .addHelpText('after', '\nExamples:\n  forkpoint wait server')
    .action(async (name: string, options: { timeout?: number; json?: boolean }) => {
      const run = await findRun(cli.places.runs, name);
      const exitCode = await waitForExit(
        run,
        options.timeout === undefined ? {} : { timeoutMs: options.timeout },
      );
      if (options.json === true) {
        cli.writeOut(`${JSON.stringify({ id: run.id, name: run.name, exitCode })}\n`);
        finish(0);
        return;
      }
      if (exitCode === null)
        throw new CliError(`the launcher of \`${run.name}\` was killed; the exit code is not known`);
      finish(exitCode);
    });
}
