import { dirname } from 'node:path';
import type { Command } from 'commander';
import { checkPattern, hasPattern } from '@forkpoint/manifest';
import type { Resource } from '@forkpoint/manifest';
import { askCheckpoint, findRun, resolveImage, waitForExit } from '@forkpoint/store';
import type { Answer, Run } from '@forkpoint/store';
import type { Cli } from '../context.ts';
import { CliError, exitCodeFor, usageError } from '../error.ts';
import { collectPairs, pidOf, secondsToMs } from '../options.ts';
import type { Finish } from '../program.ts';
import { checkpointOutside } from './attach.ts';
import { bytesText, durationText } from '../ui/format.ts';
import { withProgress } from '../ui/progress.ts';
import { writtenBy } from '../ui/written.ts';

interface Options {
  readonly pid?: number;
  readonly to?: string;
  readonly stop?: boolean;
  readonly timeout: number;
  readonly dryRun?: boolean;
  readonly uncoordinated?: boolean;
  readonly label?: Record<string, string>;
  readonly sync: boolean;
  readonly link: boolean;
  readonly compress?: string | true;
  readonly json?: boolean;
}

const DEFAULT_MS = 60_000;
/** What may stand behind `--compress` as a word of its own. */
const CODECS = ['zstd', 'lz4'];
/** The worker ends a checkpoint at its limit; only when it does not answer at all is this waited on top. */
const GRACE_MS = 15_000;

/** Adds `forkpoint checkpoint`. */
export function addCheckpoint(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('checkpoint')
    .summary('take an image of a run')
    .description(
      'Takes an image of a living run and prints the path of the image.\n\n' +
        'The program goes on, unless --stop is given; it is stopped only after the image is complete. An image that lies at ' +
        'the destination already is replaced at once and as a whole.',
    )
    .argument('[run]', 'name of a run, or the start of its id')
    .argument(
      '[dest]',
      'a path when it contains / or starts with ., else a name (default: what --to of the run says, else its name)',
    )
    .option('--pid <pid>', 'a program that forkpoint did not start; as root, with --uncoordinated', pidOf)
    .option('--to <dest>', 'another way to name the destination')
    .option('--stop', 'end the program once the image is complete')
    .option('--timeout <seconds>', 'give up after this time', secondsToMs, DEFAULT_MS)
    .option('--dry-run', 'only look whether the checkpoint would work')
    .option('--uncoordinated', "do without the program's hooks")
    .option('--label <name=value>', 'note something in the image (repeatable)', collectPairs)
    .option('--no-link', "keep the memory in CRIU's own files: restores read it instead of mapping it")
    .option(
      '--compress [codec]',
      'compress the memory; zstd is the only codec: an image of a fraction, whose first restore takes longer',
    )
    .option('--no-sync', 'do not wait for the disk')
    .option('--json', 'print what was made as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint checkpoint server\n  forkpoint checkpoint server ./images/warm-%g --stop\n' +
        '\nA destination may hold %p pid, %g generation, %t time, %u random, %a machine, %f processor\nfeatures, %c processors, %m heap, %%.',
    )
    .action(async (first: string | undefined, second: string | undefined, options: Options) => {
      if (options.pid !== undefined) {
        finish(await checkpointOutside(cli, options.pid, options.to ?? first, options));
        return;
      }
      const [name, dest] = [first, second];
      if (name === undefined)
        throw usageError('missing required argument `run`', 'Run `forkpoint checkpoint --help`');
      if (dest !== undefined && options.to !== undefined) throw usageError('two destinations were given');
      finish(await checkpoint(cli, name, dest ?? options.to, options));
    });
}

async function checkpoint(
  cli: Cli,
  name: string,
  dest: string | undefined,
  options: Options,
): Promise<number> {
  if (dest !== undefined) {
    checkPattern(dest);
    // A name that is none fails here, and not after the program's hooks have run.
    if (!hasPattern(dest)) resolveImage(dest, cli.cwd, cli.places.images);
  }
  const codec = options.compress === undefined ? undefined : codecOf(options.compress);
  const run = await findRun(cli.places.runs, name);
  const to = dest ?? (run.to === null ? run.name : undefined);
  const abort = new AbortController();
  const interrupt = (): void => abort.abort();
  process.once('SIGINT', interrupt);
  try {
    // A destination that the run knows may be any; a pattern names its file only.
    const place = to === undefined ? cli.places.images : resolvePlace(cli, to);
    const written = writtenBy(run.id, place);
    const label = (): string => `Checkpointing ${run.name} ${written()}`.trimEnd();
    const answer = await withProgress(cli, label, () =>
      askCheckpoint(
        run,
        {
          ...(to === undefined ? {} : { to, cwd: cli.cwd }),
          timeoutMs: options.timeout,
          ...(options.stop === true ? { stop: true } : {}),
          ...(options.dryRun === true ? { dryRun: true } : {}),
          ...(options.uncoordinated === true ? { uncoordinated: true } : {}),
          ...(options.label === undefined ? {} : { labels: options.label }),
          ...(options.sync ? {} : { sync: false }),
          ...(options.link ? {} : { link: false }),
          ...(codec === undefined ? {} : { compress: codec }),
        },
        { timeoutMs: options.timeout + GRACE_MS, signal: abort.signal },
      ),
    );
    // The image is published and the program's end ordered: whoever reads "stopped" finds it so.
    if (options.stop === true && answer.outcome === 'done') await waitForExit(run, { timeoutMs: GRACE_MS });
    return report(cli, run, answer, options);
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

/** The directory in which a destination lies. */
function resolvePlace(cli: Cli, to: string): string {
  return hasPattern(to) && !to.includes('/')
    ? cli.places.images
    : dirname(resolveImage(to, cli.cwd, cli.places.images));
}

/**
 * Returns the words of a command line with the codec written out behind a bare `--compress`: an option whose value may be left
 * out would take the next word for it, as in `checkpoint --compress server warm`.
 */
export function withCodec(words: readonly string[]): string[] {
  if (words[0] !== 'checkpoint') return [...words];
  return words.map((word, index) =>
    word === '--compress' && !CODECS.includes(words[index + 1] ?? '') ? '--compress=zstd' : word,
  );
}

function codecOf(word: string | true): 'zstd' {
  if (word === true || word === 'zstd') return 'zstd';
  throw usageError(
    word === 'lz4'
      ? 'there is no lz4, only zstd: measured, lz4 makes images 1.6 times as large, and is quicker only at what happens once per image (bench/NOTES.md)'
      : `there is no codec called \`${word}\``,
    'Use --compress, or --compress=zstd',
  );
}

function report(cli: Cli, run: Run, answer: Answer, options: Options): number {
  for (const warning of answer.warnings ?? [])
    cli.writeErr(`${cli.paintErr('warning', 'Warning:')} ${warning}.\n`);
  if (answer.outcome === 'failed') throw failure(run, answer);
  if (options.json === true) {
    const { id, image, generation, sizes, times, warnings, report: details } = answer;
    const shown = {
      id,
      image,
      name: run.name,
      run: run.id,
      generation,
      sizes,
      times,
      warnings,
      report: details,
    };
    cli.writeOut(`${JSON.stringify(shown)}\n`);
    return 0;
  }
  if (options.dryRun === true) {
    cli.writeErr(`A checkpoint of ${run.name} would work.\n`);
    return 0;
  }
  const facts = [answer.sizes?.['total'], answer.times?.['total']]
    .map((value, index) =>
      value === undefined ? undefined : index === 0 ? bytesText(value) : durationText(value),
    )
    .filter((text) => text !== undefined);
  const detail = facts.length === 0 ? '' : ` (${facts.join(', ')})`;
  const verb = options.stop === true ? 'Checkpointed and stopped' : 'Checkpointed';
  cli.writeErr(`${cli.paintErr('success', verb)} ${run.name} to ${answer.image ?? 'an image'}${detail}.\n`);
  const copied = answer.sizes?.['copied'] ?? 0;
  if (copied > 0)
    cli.writeErr(
      `Note: ${bytesText(copied)} of earlier images were copied, since they cannot be linked into ${answer.image ?? 'it'}.\n`,
    );
  if (answer.image !== undefined) cli.writeOut(`${answer.image}\n`);
  return 0;
}

function failure(run: Run, answer: Answer): CliError {
  const code = answer.code ?? 'ERR_FORKPOINT_CHECKPOINT';
  const causes = (answer.resources ?? []).map(resourceText);
  return new CliError(`the checkpoint of \`${run.name}\` failed: ${answer.message ?? code}`, {
    code,
    exitCode: exitCodeFor(code),
    causes,
    hint: answer.hint ?? `The program goes on; see \`forkpoint logs ${run.name} --launcher\``,
  });
}

function resourceText({ kind, what, pid, fd, stack }: Resource): string {
  const place = [pid === undefined ? '' : `pid ${pid}`, fd === undefined ? '' : `fd ${fd}`]
    .filter(Boolean)
    .join(', ');
  const opened = stack === undefined ? '' : `, opened ${stack.split('\n').slice(0, 4).join(' ')}`;
  return `${kind}: ${what}${place === '' ? '' : ` (${place})`}${opened}`;
}
