import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { appKey, DEFAULT_POLICY, ReforkServer } from '@forkpoint/supervisor';
import type { AppKey, ReforkPolicy } from '@forkpoint/supervisor';
import { defaultName, readManifest, resolveImage } from '@forkpoint/store';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { usageError } from '../error.ts';
import { sizeBytes } from '../options.ts';
import { adaptRequest, prepareRun } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { addServeOrders } from './serve-orders.ts';

const WORKERS_MAX = 256;

/** What `forkpoint serve` may be told. */
interface ServeFlags {
  readonly name?: string;
  readonly from?: string;
  readonly keep: boolean;
  readonly workers: number;
  readonly refork: readonly number[];
  readonly memoryLimit?: number;
  readonly diskLimit?: number;
}

/** Adds `forkpoint serve`. */
export function addServe(program: Command, cli: Cli, finish: Finish): void {
  const serve = program
    .command('serve')
    .summary('serve with workers that are forks of the warmest one')
    .description(
      'Starts a Node.js server once, and serves with copies of it on the same address. The warmest copy becomes the ' +
        'mold of the next generation, and a worker that dies is replaced by a warm one.\n\nSIGHUP starts the program ' +
        'anew and rolls it out without dropping a request, SIGUSR2 reforks, SIGTERM and SIGINT drain and end.',
    )
    .usage('[options] -- <command> [args...]')
    .argument('[command]', 'the program; write -- before it. With --from, the one of the image unless given')
    .argument('[args...]', 'its arguments')
    .option('--name <name>', 'what the server is called; the name of the program unless given')
    .option('--from <image>', 'start the workers from this image instead of starting the program')
    .option('--no-keep', 'neither keep an image for the next start of the same code, nor use one')
    .option('--workers <n>', 'number of workers', countOf, DEFAULT_POLICY.workers)
    .option(
      '--refork <n,n,...>',
      'requests of the warmest worker at which it becomes the mold',
      thresholdsOf,
      [...DEFAULT_POLICY.thresholds],
    )
    .option('--memory-limit <size>', 'private memory at which a worker is replaced, such as 300MB', sizeBytes)
    .option('--disk-limit <size>', 'space that all images may take together, such as 2GB', sizeBytes)
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint serve --workers 4 -- node server.js\n  forkpoint serve --from ./warm',
    )
    .action(async (command: string | undefined, args: string[], flags: ServeFlags) => {
      finish(
        await run(cli, await programOf(cli, command === undefined ? [] : [command, ...args], flags), flags),
      );
    });
  addServeOrders(serve, cli, finish);
}

function policyOf(flags: ServeFlags): ReforkPolicy {
  return {
    ...DEFAULT_POLICY,
    workers: flags.workers,
    thresholds: flags.refork,
    memoryLimit: flags.memoryLimit ?? null,
    diskLimit: flags.diskLimit ?? null,
  };
}

/** What is served. */
interface Program {
  readonly command: readonly string[];
  readonly cwd: string;
  /** Directory of the image that the workers start from at first. */
  readonly from: string | null;
}

/** Returns the program of the command line, else that of the image. */
async function programOf(cli: Cli, command: readonly string[], flags: ServeFlags): Promise<Program> {
  const from = flags.from === undefined ? null : resolveImage(flags.from, cli.cwd, cli.places.images);
  if (command.length > 0) return { command, cwd: cli.cwd, from };
  if (from === null) throw usageError('what shall be served is missing', 'forkpoint serve -- node server.js');
  const manifest = await readManifest(from);
  return { command: manifest.command, cwd: manifest.cwd, from };
}

async function run(cli: Cli, program: Program, flags: ServeFlags): Promise<number> {
  const { command, cwd } = program;
  const files = packageFiles(cli.lib, cli.places.home);
  const server = new ReforkServer({
    name: flags.name ?? defaultName(command, new Set()),
    ...program,
    policy: policyOf(flags),
    home: cli.places.home,
    runs: cli.places.runs,
    launcher: files.launcher,
    worker: [process.execPath, files.worker],
    preflight: { launcher: files.launcher, enginePlan: cli.places.enginePlan },
    keyOf: flags.keep ? async () => await keyOf(cli, program) : null,
    prepare: async (env) =>
      await prepareRun(cli, { command, cwd, env, isDetached: false, isJson: false, isPreloaded: true }),
    log: (level, text) => {
      const mark = level === 'warning' ? `${cli.paintErr('warning', 'Warning:')} ` : '';
      cli.writeErr(`${mark}${text}\n`);
    },
  });
  const listeners = [
    ...(['SIGTERM', 'SIGINT'] as const).map((signal) => ({ signal, event: { type: 'stop' } as const })),
    { signal: 'SIGHUP', event: { type: 'reload' } as const },
    { signal: 'SIGUSR2', event: { type: 'refork' } as const },
  ].map(({ signal, event }) => ({ signal, listener: (): void => server.feed(event) }));
  for (const { signal, listener } of listeners) process.on(signal, listener);
  try {
    return await server.serve();
  } finally {
    for (const { signal, listener } of listeners) process.removeListener(signal, listener);
  }
}

/** What has to be the same for an image of an earlier start to be of use. */
async function keyOf(cli: Cli, { command, cwd }: Program): Promise<AppKey | null> {
  const { file } = adaptRequest(cli, { command, isPreloaded: true }, cwd);
  const { native, preload } = packageFiles(cli.lib, cli.places.home);
  return await appKey({ command, cwd, env: cli.env, files: [file, native, preload] });
}

function countOf(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1 || count > WORKERS_MAX)
    throw new InvalidArgumentError(`It is a whole number from 1 to ${WORKERS_MAX}.`);
  return count;
}

function thresholdsOf(text: string): number[] {
  if (text === 'off') return [];
  const numbers = text.split(',').map(Number);
  if (numbers.some((one) => !Number.isSafeInteger(one) || one < 1))
    throw new InvalidArgumentError('It is a list of numbers of requests, such as 50,100,1000, or off.');
  return numbers;
}
