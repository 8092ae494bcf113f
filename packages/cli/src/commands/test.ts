import { join } from 'node:path';
import type { Command } from 'commander';
import type { Cli } from '../context.ts';
import { launch } from '../launch.ts';
import type { Finish } from '../program.ts';

/** Adds `forkpoint test`. */
export function addTest(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('test')
    .summary("run node:test's files in forks of a warm process")
    .description(
      'Is `node --test` with the same words behind it, and reports the same. Each test file runs in a fork of one process that has ' +
        'loaded node:test and the packages that the files have in common. Where files cannot be forked, each runs in a process of its ' +
        'own as usual, and one line says why.',
    )
    .argument('[args...]', 'options of node, files and patterns')
    .addHelpText(
      'after',
      "\nExamples:\n  forkpoint test -- test/*.test.js\n  forkpoint test -- --import tsx --test-reporter=spec 'test/**/*.test.ts'",
    )
    .action(async (args: string[]) => {
      // The tests take the place of this command line: they run with its own Node.js.
      const words = ['--require', join(cli.lib, 'dist', 'test.cjs'), '--test', ...args];
      const env = { ...cli.env, FORKPOINT_TEST: cli.places.home, FORKPOINT_LIB: cli.lib };
      finish(await launch(process.execPath, words, env));
    });
}
