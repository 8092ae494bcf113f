import type { Command } from 'commander';
import { listStore, preflight, readManifest, reasonOf, resolveImage, selectByLabels } from '@forkpoint/store';
import type { Finding } from '@forkpoint/store';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { CliError, EXIT, usageError } from '../error.ts';
import { launch } from '../launch.ts';
import { collect, collectPairs, secondsToMs } from '../options.ts';
import { prepareRun } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { explainReason } from '../explain.ts';
import { topicText } from '../topics.ts';
import { warnOfDamaged } from '../store-view.ts';
import { safeText } from '../ui/format.ts';

/** Why the launcher handed a restore over: a short word, or what failed while CRIU restored; and what it is about. */
export interface Handover {
  readonly reason: string;
  readonly detail: string;
  /** The directory of all runs. */
  readonly runs: string;
  /** The words behind `restore`. */
  readonly args: readonly string[];
}

interface Options {
  readonly from?: string;
  readonly label?: Record<string, string>;
  readonly name?: string;
  readonly detach?: boolean;
  readonly to?: string;
  readonly env?: Record<string, string>;
  readonly cwd?: string;
  readonly json?: boolean;
  readonly orRun?: boolean;
  readonly ignoreRestoreIfUnavailable?: boolean;
}

/** Adds `forkpoint restore`. The launcher carries it out; this explains why one does not work, or boots instead. */
export function addRestore(program: Command, cli: Cli, finish: Finish, handover?: Handover): void {
  program
    .command('restore')
    .summary('start a program from an image')
    .description(
      'Starts a program from an image, as often as you like, also several times at once.\n\n' +
        "In the foreground the command ends with the program's exit code.",
    )
    .argument('[image]', 'a path when it contains / or starts with ., else a name')
    .argument('[args...]', 'given to the program; write -- before them')
    .option('--from <image>', 'another way to name the image')
    .option(
      '--label <name=value>',
      'the newest image with this label that can be restored (repeatable)',
      collectPairs,
    )
    .option('--name <name>', 'name of the run (default: its id)')
    .option('-d, --detach', 'leave the program in the background and print the id of the run')
    .option('--to <dest>', "where the program's next checkpoint goes")
    .option(
      '--env <name=value>',
      "set or change a variable of the program's environment (repeatable)",
      collectPairs,
    )
    .option('--cwd <dir>', 'the directory that the program changes to')
    .option('--main <class>', 'of a JVM: run this class, with the arguments, before going on')
    .option('-D <name=value>', 'of a JVM: set a system property (repeatable)', collect)
    .option(
      '--listen <slot=address>',
      'listen somewhere else: PORT, HOST:PORT or a path (repeatable)',
      collect,
    )
    .option('--fd <slot=path>', 'open another file in a file slot (repeatable)', collect)
    .option('--timeout <seconds>', 'give up after this time', secondsToMs)
    .option('--no-reseed', 'keep the random state of the image: all clones then draw the same numbers')
    .option('--no-prefetch', 'do not read ahead what a trained image names')
    .option('--or-run', "start the image's command afresh when the image cannot be restored here")
    .option('--ignore-restore-if-unavailable', 'the same as --or-run')
    .option('--json', 'with --detach: print the run as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint restore server\n  forkpoint restore ./images/warm -d --listen 3000=3001 -- --tenant blue\n\n' +
        topicText('restore'),
    )
    .action(async (first: string | undefined, rest: string[], options: Options) => {
      // With --from every word is an argument of the program.
      if (options.label !== undefined) {
        finish(await restoreByLabel(cli, options.label, { options, handover, positional: first }));
        return;
      }
      const image = options.from ?? first;
      if (image === undefined)
        throw usageError('missing required argument `image`', 'Run `forkpoint restore --help`');
      const args = options.from === undefined || first === undefined ? rest : [first, ...rest];
      finish(await restore(cli, image, args, { options, handover }));
    });
}

/** Chooses the image, and hands the same words with its path to the launcher. */
async function restoreByLabel(
  cli: Cli,
  labels: Readonly<Record<string, string>>,
  given: { options: Options; handover: Handover | undefined; positional: string | undefined },
): Promise<number> {
  const words = given.handover?.args ?? process.argv.slice(process.argv.indexOf('restore') + 1);
  const behind = words.includes('--') ? words.slice(words.indexOf('--')) : [];
  const isImageGiven = given.options.from !== undefined || given.positional !== behind[1];
  if (isImageGiven) throw usageError('an image and --label exclude each other', 'Give one of the two');
  const files = packageFiles(cli.lib, cli.places.home);
  const { images, damaged } = await listStore(cli.places);
  warnOfDamaged(cli, damaged);
  const check = { launcher: files.launcher, enginePlan: cli.places.enginePlan, runs: cli.places.runs };
  const chosen = await selectByLabels(
    images,
    labels,
    async (image) => await preflight(image, check),
    ({ name }, found) => {
      const why = found.map(({ message }) => message).join('; ');
      cli.writeErr(`Note: the newer image ${safeText(name)} is passed over: ${safeText(why)}\n`);
    },
  );
  const kept = withoutLabels(words.slice(0, words.length - behind.length));
  return await launch(files.launcher, ['restore', chosen.path, ...kept, ...behind], {
    ...cli.env,
    FORKPOINT_LIB: cli.lib,
  });
}

function withoutLabels(words: readonly string[]): string[] {
  return words.filter(
    (word, index) => !word.startsWith('--label=') && word !== '--label' && words[index - 1] !== '--label',
  );
}

async function restore(
  cli: Cli,
  image: string,
  args: readonly string[],
  given: { options: Options; handover: Handover | undefined },
): Promise<number> {
  const { options, handover } = given;
  // Commander has accepted what the launcher has not: the launcher is the one that counts.
  if (handover?.reason === 'usage') throw unexpected(handover.detail);
  const files = packageFiles(cli.lib, cli.places.home);
  const path = resolveImage(image, cli.cwd, cli.places.images);
  const { enginePlan, runs } = cli.places;
  const found = await preflight(path, { launcher: files.launcher, enginePlan, runs });
  if (handover === undefined && found.length === 0) {
    const words = process.argv.slice(process.argv.indexOf('restore'));
    return await launch(files.launcher, words, { ...cli.env, FORKPOINT_LIB: cli.lib });
  }
  // A slot that was given another address says nothing about its own one.
  const reasons = handover === undefined ? found : await explainReason(handover, found);
  if (options.orRun === true || options.ignoreRestoreIfUnavailable === true) {
    return await bootInstead(cli, path, args, { options, reasons });
  }
  throw refusal(path, reasons);
}

/** Starts the manifest's command afresh. */
async function bootInstead(
  cli: Cli,
  image: string,
  args: readonly string[],
  given: { options: Options; reasons: readonly Finding[] },
): Promise<number> {
  const { options, reasons } = given;
  let plan: string;
  try {
    const manifest = await readManifest(image);
    cli.writeErr(
      `Note: ${image} cannot be restored (${reasons.map((reason) => reason.message).join('; ')}); starting its command instead.\n`,
    );
    plan = await prepareRun(cli, {
      command: [...manifest.command, ...args],
      name: options.name,
      to: options.to === undefined ? undefined : { dest: options.to, cwd: cli.cwd },
      env: options.env,
      cwd: options.cwd ?? manifest.cwd,
      isDetached: options.detach === true,
      isJson: options.json === true,
      isPreloaded: true,
    });
  } catch (error) {
    if (error instanceof CliError) throw error;
    throw new CliError(`the image ${image} can neither be restored nor started afresh`, {
      code: 'ERR_FORKPOINT_RESTORE',
      exitCode: EXIT.ours,
      causes: [reasonOf(error)],
    });
  }
  return await launch(packageFiles(cli.lib, cli.places.home).launcher, ['run', plan], {
    ...cli.env,
    FORKPOINT_LIB: cli.lib,
  });
}

function refusal(image: string, reasons: readonly Finding[]): CliError {
  const [first] = reasons;
  const hints = [...new Set(reasons.map((reason) => reason.hint).filter((hint) => hint !== undefined))];
  return new CliError(`the image ${image} cannot be restored here`, {
    code: 'ERR_FORKPOINT_RESTORE',
    exitCode: EXIT.ours,
    causes: reasons.map((reason) => reason.message),
    hint:
      hints.length > 0
        ? hints.join('\n')
        : first?.kind === 'address'
          ? 'Use --listen to give another address'
          : undefined,
  });
}

function unexpected(detail: string): CliError {
  const isWord = !detail.startsWith('-');
  return usageError(
    isWord ? `unexpected argument \`${detail}\`` : `the option \`${detail}\` cannot be used here`,
    isWord ? "Write -- before the program's arguments" : 'See `forkpoint restore --help`',
  );
}
