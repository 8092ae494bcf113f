import { constants } from 'node:os';
import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { findRun, signalRun } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';

/** Adds `forkpoint kill`. */
export function addKill(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('kill')
    .summary('send a signal to a run')
    .description("Sends a signal to the first process of a run's program, which may handle it.")
    .argument('<run>', 'name of a run, or the start of its id')
    .option('-s, --signal <signal>', 'name or number of the signal', signalOf, 'SIGTERM' as const)
    .addHelpText('after', '\nExamples:\n  forkpoint kill server\n  forkpoint kill server --signal KILL')
    .action(async (name: string, options: { signal: NodeJS.Signals }) => {
      const run = await findRun(cli.places.runs, name);
      await signalRun(run, options.signal);
      cli.writeErr(`Sent ${options.signal} to ${run.name}.\n`);
      finish(0);
    });
}

/** Returns a signal from its name, with or without SIG, or its number. */
export function signalOf(text: string): NodeJS.Signals {
  const names = Object.keys(constants.signals) as NodeJS.Signals[];
  const wanted = text.toUpperCase();
  const found = names.find(
    (name) => name === wanted || name === `SIG${wanted}` || String(constants.signals[name]) === text,
  );
  if (found === undefined) throw new InvalidArgumentError('There is no such signal.');
  return found;
}
