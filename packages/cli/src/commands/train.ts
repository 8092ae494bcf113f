import type { Command } from 'commander';
import { resolveImage } from '@forkpoint/store';
import { SupervisorError, train } from '@forkpoint/supervisor';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { CliError, exitCodeFor, usageError } from '../error.ts';
import { collect, secondsToMs } from '../options.ts';
import { checkSetup } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { withProgress } from '../ui/progress.ts';

interface Options {
  readonly listen?: string[];
  readonly fd?: string[];
  readonly timeout: number;
  readonly json?: boolean;
}

const DEFAULT_MS = 30_000;

/** Adds `forkpoint train`. */
export function addTrain(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('train')
    .summary('teach an image what its restores should read ahead')
    .description(
      'Restores an image once and starts PROBE until it succeeds. What the program has touched by then is noted in the image: ' +
        'restores on a cold page cache read exactly that, in one pass, before anything waits for it.\n\n' +
        'PROBE finds the id of the run in FORKPOINT_RUN. The run is ended afterwards.',
    )
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .argument('<command>', 'the probe: succeeds when the program is ready')
    .argument('[args...]', 'arguments of the probe')
    .option(
      '--listen <slot=address>',
      'listen somewhere else during the training: PORT, HOST:PORT or a path (repeatable)',
      collect,
    )
    .option('--fd <slot=path>', 'open another file in a file slot during the training (repeatable)', collect)
    .option(
      '--timeout <seconds>',
      'give up when the probe has not succeeded by then',
      secondsToMs,
      DEFAULT_MS,
    )
    .option('--json', 'print what was found as JSON')
    .addHelpText('after', '\nExamples:\n  forkpoint train ./warm -- curl -sf localhost:3000/')
    .action(async (image: string, command: string, args: string[], options: Options) => {
      await run(cli, image, [command, ...args], options);
      finish(0);
    });
}

async function run(cli: Cli, argument: string, probe: readonly string[], options: Options): Promise<void> {
  if (probe[0] === '') throw usageError('the probe is empty', 'Run `forkpoint train --help`');
  const image = resolveImage(argument, cli.cwd, cli.places.images);
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  const words = (name: string, values: readonly string[] = []): string[] =>
    values.flatMap((value) => [name, value]);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new CliError('interrupted; the image is as it was'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  try {
    const found = await withProgress(cli, `Training ${argument}`, () =>
      train({
        image,
        probe,
        restore: [...words('--listen', options.listen), ...words('--fd', options.fd)],
        launcher: files.launcher,
        runs: cli.places.runs,
        cwd: cli.cwd,
        env: { ...cli.env, FORKPOINT_LIB: cli.lib },
        timeoutMs: options.timeout,
        signal: abort.signal,
      }),
    );
    if (options.json === true) {
      cli.writeOut(`${JSON.stringify({ image, ...found })}\n`);
      return;
    }
    cli.writeErr(
      `${cli.paintErr('success', 'Trained')} ${image}: ready after ${durationText(found.elapsedMs)} with ` +
        `${bytesText(found.touchedBytes)} of ${bytesText(found.layerBytes)}; restores read ${bytesText(found.prefetchBytes)} ahead.\n`,
    );
    cli.writeOut(`${image}\n`);
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    throw new CliError(error.message, {
      code: error.code,
      exitCode: exitCodeFor(error.code),
      hint: error.hint,
    });
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}
