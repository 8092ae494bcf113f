import type { Command } from 'commander';
import { resolveImage } from '@forkpoint/store';
import { SupervisorError } from '@forkpoint/supervisor';
import { checkClones } from '@forkpoint/supervisor/host';
import type { CheckedClones, FoundToken } from '@forkpoint/supervisor/host';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { CliError, exitCodeFor, usageError } from '../error.ts';
import { collect, collectPairs, secondsToMs } from '../options.ts';
import { checkSetup } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { safeText } from '../ui/format.ts';
import { withProgress } from '../ui/progress.ts';

interface Options {
  readonly listen?: Record<string, string>;
  readonly ignore?: string[];
  readonly reseed: boolean;
  readonly timeout: number;
  readonly json?: boolean;
}

const DEFAULT_MS = 30_000;

/** Adds `forkpoint check-clones`. */
export function addCheckClones(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('check-clones')
    .summary('find what two clones of an image have in common and should not')
    .description(
      'Restores an image twice, starts PROBE twice against each clone, and reports what looks random in its output and is the same in ' +
        'both: ids, tokens, keys. Exits with 1 when there is any.\n\n' +
        'PROBE finds the id of the run in FORKPOINT_RUN and where it listens in FORKPOINT_ADDRESS and FORKPOINT_PORT ' +
        '(FORKPOINT_ADDRESS_SLOT for each slot). The clones are ended afterwards.',
    )
    .argument('<image>', 'a path when it contains / or starts with ., else a name')
    .argument('<command>', 'the probe: prints answers of the clone')
    .argument('[args...]', 'arguments of the probe')
    .option(
      '--listen <slot=address>',
      'where clones listen; %i stands for the number of each (repeatable). Without it TCP slots get ports of their own',
      collectPairs,
    )
    .option('--ignore <regexp>', 'text that may be the same (repeatable)', collect)
    .option('--no-reseed', 'keep the random state of the image: what this finds is what forkpoint renews')
    .option('--timeout <seconds>', 'longest time for each answer', secondsToMs, DEFAULT_MS)
    .option('--json', 'print what was found as JSON')
    .addHelpText(
      'after',
      "\nExamples:\n  forkpoint check-clones ./warm -- sh -c 'curl -si localhost:$FORKPOINT_PORT/login'",
    )
    .action(async (image: string, command: string, args: string[], options: Options) => {
      const found = await check(cli, image, [command, ...args], options);
      const count = found.repeated.length + found.standing.length;
      if (options.json === true) cli.writeOut(`${JSON.stringify(found)}\n`);
      else tell(cli, image, found);
      finish(count === 0 ? 0 : 1);
    });
}

async function check(
  cli: Cli,
  argument: string,
  probe: readonly string[],
  options: Options,
): Promise<CheckedClones> {
  const image = resolveImage(argument, cli.cwd, cli.places.images);
  const ignore = (options.ignore ?? []).map(pattern);
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new CliError('interrupted'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const maker = { places: cli.places, launcher: files.launcher, library: cli.lib, env: { ...cli.env } };
  try {
    return await withProgress(cli, `Asking two clones of ${argument}`, () =>
      checkClones({
        maker,
        image,
        probe,
        ignore,
        cwd: cli.cwd,
        listen: options.listen ?? {},
        isReseeded: options.reseed,
        timeoutMs: options.timeout,
        signal: abort.signal,
      }),
    );
  } catch (error) {
    if (!(error instanceof SupervisorError)) throw error;
    const { message, code, hint } = error;
    throw new CliError(message, { code, exitCode: exitCodeFor(code), hint });
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

function pattern(text: string): RegExp {
  try {
    return new RegExp(text);
  } catch {
    throw usageError(`--ignore ${text} is no regular expression`, 'Run `forkpoint check-clones --help`');
  }
}

function tell(cli: Cli, image: string, { repeated, standing, tokens }: CheckedClones): void {
  const lines = (found: readonly FoundToken[]): string =>
    found.map(({ text, bits }) => `  ${safeText(text)}  (${bits} bits)\n`).join('');
  if (repeated.length > 0)
    cli.writeOut(`Drawn anew for each answer, and the same in both clones:\n${lines(repeated)}`);
  if (standing.length > 0)
    cli.writeOut(
      `The same in all answers, drawn before the checkpoint or no secret at all:\n${lines(standing)}`,
    );
  if (repeated.length + standing.length > 0) {
    cli.writeErr(
      'Hint: draw them in an afterRestore hook (docs/fork-safety.md), or allow them with `--ignore REGEXP`\n',
    );
    return;
  }
  cli.writeErr(
    `${cli.paintErr('success', 'Fine')}: ${tokens} random texts, none of them in two clones of ${image}.\n`,
  );
}
