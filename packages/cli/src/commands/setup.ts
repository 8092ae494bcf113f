import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Command } from 'commander';
import { ensureHome } from '@forkpoint/store';
import { packageFiles } from '../context.ts';
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
      const sourceDir = nativeSource(cli.lib);
      const result = await setup({
        home: cli.places.home,
        log: (line) => cli.writeErr(`${line}\n`),
        native: { sourceDir, outDir: packageFiles(cli.lib).native },
      });
      cli.writeErr(`forkpoint is ready: CRIU ${result.version}.\n`);
      finish(0);
    });
}

/** Returns where the launcher's source lies: in the package, or beside it in a checkout. */
function nativeSource(lib: string): string {
  const published = join(lib, 'native');
  const checkout = join(lib, '..', 'launcher');
  return !existsSync(join(published, 'launcher.c')) && existsSync(join(checkout, 'launcher.c'))
    ? checkout
    : published;
}
