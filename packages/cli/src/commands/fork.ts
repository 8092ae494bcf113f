import { constants } from 'node:os';
import { join } from 'node:path';
import type { Command } from 'commander';
import { Cradle, socketName } from '@forkpoint/core/family';
import type { Brood } from '@forkpoint/core/family';
import { askCheckpoint, findRun, newId, readRun, resolveImage, StoreError } from '@forkpoint/store';
import type { Run } from '@forkpoint/store';
import { removeClone, startClone } from '@forkpoint/supervisor/host';
import { packageFiles } from '../context.ts';
import type { Cli, PackageFiles } from '../context.ts';
import { CliError, exitCodeFor } from '../error.ts';
import { collectPairs, countOf, secondsToMs } from '../options.ts';
import { checkSetup } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { withProgress } from '../ui/progress.ts';

interface Options {
  readonly number: number;
  readonly detach?: boolean;
  readonly env?: Record<string, string>;
  readonly listen?: Record<string, string>;
  readonly hostname?: string;
  readonly timeout: number;
  readonly json?: boolean;
}

/** What is to be forked, and how. */
interface Order {
  readonly args: readonly string[];
  readonly options: Options;
  /** Where the children's lines arrive. */
  readonly socket: string;
}

const DEFAULT_MS = 60_000;
/** The worker ends a fork at its limit; only when it does not answer at all is this waited on top. */
const GRACE_MS = 15_000;
/** These would end this process before its children are there to get them; the others may. */
const KEPT = ['SIGUSR1', 'SIGUSR2'] as const;
const FORWARDED = ['SIGINT', 'SIGTERM', 'SIGHUP', 'SIGQUIT', 'SIGUSR1', 'SIGUSR2'] as const;

/** Adds `forkpoint fork`. */
export function addFork(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('fork')
    .summary('start children from the state that a run is in')
    .description(
      'Starts children from the state that a living run is in, or from an image.\n\n' +
        "A run goes on; its children accept connections on its own listening sockets. In the foreground the children's output comes " +
        'here, they end with this command, and its exit code is the first that is not 0.',
    )
    .argument('<run|image>', 'name of a run, or the start of its id; else an image')
    .argument('[args...]', 'given to the children; write -- before them')
    .option('-n, --number <count>', 'number of children', countOf, 1)
    .option('-d, --detach', 'leave the children in the background and print the ids of their runs')
    .option(
      '--env <name=value>',
      "set or change a variable of the children's environment (repeatable)",
      collectPairs,
    )
    .option(
      '--listen <slot=address>',
      'share (the default), close, or another address: PORT, HOST:PORT or a path (repeatable)',
      collectPairs,
    )
    .option('--hostname <name>', 'host name of the children; %i stands for the number of each')
    .option('--timeout <seconds>', 'give up after this time', secondsToMs, DEFAULT_MS)
    .option('--json', 'with --detach: print the runs as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint fork server -n 3 -d\n  forkpoint fork ./warm -n 2 --env ROLE=report -- --month 4',
    )
    .action(async (target: string, args: string[], options: Options) => {
      finish(await fork(cli, target, args, options));
    });
}

async function fork(cli: Cli, target: string, args: readonly string[], options: Options): Promise<number> {
  const run = await runCalled(cli, target);
  const image = run === undefined ? resolveImage(target, cli.cwd, cli.places.images) : '';
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  const socket = join(cli.places.cache, socketName());
  const isDetached = options.detach === true;
  const cradle = new Cradle(socket, options.number, {
    isDetached,
    needsChannel: false,
    hasStreams: !isDetached,
  });
  const order = { args, options, socket };
  const started: string[] = [];
  const early = isDetached ? [] : keepSignals();
  const brood = await withProgress(cli, `Forking ${target}`, async () => {
    try {
      if (run === undefined) await startFromImage(cli, { image, files, order, started });
      else await startFromRun(run, order);
      return await cradle.settle();
    } catch (error) {
      cradle.abort(error instanceof Error ? error : new Error(String(error)));
      throw error;
    }
  });
  const living = new Set(brood.children.map(({ id }) => id));
  await removeDead(
    cli,
    started.filter((id) => !living.has(id)),
  );
  if (brood.children.length === 0) throw noChild(target, brood.errors);
  for (const error of brood.errors) cli.writeErr(`${cli.paintErr('warning', 'Warning:')} ${error.message}\n`);
  if (!isDetached) return await attend(brood, early);
  await tell(cli, brood, options.json === true);
  return brood.errors.length === 0 ? 0 : 1;
}

/** Returns the living run of this name or id; undefined when an image is meant. */
async function runCalled(cli: Cli, target: string): Promise<Run | undefined> {
  if (target.includes('/') || target.startsWith('.')) return undefined;
  try {
    const run = await findRun(cli.places.runs, target);
    return run.isAlive ? run : undefined;
  } catch (error) {
    if (error instanceof StoreError && error.code === 'ERR_FORKPOINT_RUN_NOT_FOUND') return undefined;
    throw error;
  }
}

async function startFromRun(run: Run, { args, options, socket }: Order): Promise<void> {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort();
  process.once('SIGINT', interrupt);
  try {
    const answer = await askCheckpoint(
      run,
      {
        count: options.number,
        socket,
        stdio: options.detach === true ? 'log' : 'pipe',
        detached: options.detach === true,
        timeoutMs: options.timeout,
        ...(args.length === 0 ? {} : { args: [...args] }),
        ...(options.env === undefined ? {} : { env: options.env }),
        ...(options.listen === undefined ? {} : { listen: options.listen }),
        ...(options.hostname === undefined ? {} : { hostname: options.hostname }),
      },
      { timeoutMs: options.timeout + GRACE_MS, signal: abort.signal },
    );
    if (answer.outcome !== 'failed') return;
    const code = answer.code ?? 'ERR_FORKPOINT_FORK';
    throw new CliError(`the fork of \`${run.name}\` failed: ${answer.message ?? code}`, {
      code,
      exitCode: exitCodeFor(code),
      causes: (answer.resources ?? []).map(({ what }) => what),
      hint: answer.hint ?? `The program goes on; see \`forkpoint logs ${run.name} --launcher\``,
    });
  } finally {
    process.removeListener('SIGINT', interrupt);
  }
}

/** An image has no launcher that could start children: this process starts theirs. */
async function startFromImage(
  cli: Cli,
  given: { image: string; files: PackageFiles; order: Order; started: string[] },
): Promise<void> {
  const { image, files, started } = given;
  const { args, options, socket } = given.order;
  const maker = { places: cli.places, launcher: files.launcher, library: cli.lib, env: { ...cli.env } };
  for (let index = 0; index < options.number; index++) {
    const id = newId();
    started.push(id);
    await startClone(maker, {
      id,
      index,
      image,
      socket,
      args,
      stdio: options.detach === true ? 'log' : 'pipe',
      isDetached: options.detach === true,
      hostname: options.hostname,
      // Several children of one image listen at its addresses: the kernel spreads the connections among them.
      sharesPorts: options.number > 1,
      listen: options.listen,
      env: options.env,
    });
  }
}

/** Removes what is left of children that did not come to live, which have no nursery. */
async function removeDead(cli: Cli, ids: readonly string[]): Promise<void> {
  for (const id of ids) await removeClone(cli.places, id);
}

function noChild(target: string, errors: readonly Error[]): CliError {
  return new CliError(`no child of \`${target}\` could be started`, {
    code: 'ERR_FORKPOINT_FORK',
    causes: [...new Set(errors.map(({ message }) => message))],
  });
}

/** Prints the children of a fork. */
async function tell(cli: Cli, { children }: Brood, isJson: boolean): Promise<void> {
  if (!isJson) {
    cli.writeOut(children.map(({ id }) => `${id}\n`).join(''));
    return;
  }
  const runs = await Promise.all(children.map(({ id }) => readRun(join(cli.places.runs, id))));
  const shown = runs.map(({ id, name, pid, image, parentId, generation }, index) => ({
    id,
    name,
    pid,
    image,
    parentId,
    generation,
    index,
  }));
  cli.writeOut(`${JSON.stringify(shown)}\n`);
}

/** Returns the list to which signals for children that are still being started are added. */
function keepSignals(): NodeJS.Signals[] {
  const early: NodeJS.Signals[] = [];
  for (const signal of KEPT) process.on(signal, () => early.push(signal));
  return early;
}

/** Stays with children in the foreground until the last has ended, and returns the exit code. */
async function attend({ children }: Brood, early: readonly NodeJS.Signals[]): Promise<number> {
  for (const signal of KEPT) process.removeAllListeners(signal);
  for (const signal of FORWARDED) process.on(signal, () => children.forEach((child) => child.kill(signal)));
  for (const signal of early) children.forEach((child) => child.kill(signal));
  for (const { stdin, stdout, stderr } of children) {
    stdout?.pipe(process.stdout, { end: false });
    stderr?.pipe(process.stderr, { end: false });
    // What is typed can go to one only.
    if (children.length === 1 && stdin !== null) process.stdin.pipe(stdin);
    else stdin?.end();
  }
  const ends = await Promise.all(children.map((child) => child.wait()));
  process.stdin.destroy();
  const codes = ends.map(({ code, signal }) => code ?? 128 + signalNumber(signal));
  return codes.find((code) => code !== 0) ?? 0;
}

function signalNumber(name: string | null): number {
  return new Map<string, number>(Object.entries(constants.signals)).get(name ?? 'SIGKILL') ?? 9;
}
