import { join } from 'node:path';
import type { Command } from 'commander';
import { ensureHome } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import type { Finish } from '../program.ts';

/** Adds `forkpoint setup`. */
export function addSetup(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('setup')
    .summary('get the engine ready on this machine')
    .description(
      'Finds CRIU on this machine or fetches it, and builds the launcher.\n\n' +
        'Needs no root and changes nothing outside the data directory and the package. A second call does nothing.',
    )
    .addHelpText('after', '\nExamples:\n  forkpoint setup')
    .action(async () => {
      await ensureHome(cli.places);
      const { setup } = await import('@forkpoint/engine');
      const result = await setup({
        home: cli.places.home,
        log: (line) => cli.writeErr(`${line}\n`),
        native: { sourceDir: join(cli.lib, 'dist', 'native') },
        bundles: join(cli.lib, 'dist'),
      });
      cli.writeErr(`forkpoint is ready: CRIU ${result.version}.\n`);
      finish(0);
    });
}
