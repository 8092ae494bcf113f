import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { DEFAULT_POLICY, ReforkServer } from '@forkpoint/supervisor';
import type { ReforkPolicy } from '@forkpoint/supervisor';
import { defaultName } from '@forkpoint/store';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { sizeBytes } from '../options.ts';
import { prepareRun } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { addServeOrders } from './serve-orders.ts';

const WORKERS_MAX = 256;

/** What `forkpoint serve` may be told. */
interface ServeFlags {
  readonly name?: string;
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
    .argument('<command>', 'the program; write -- before it')
    .argument('[args...]', 'its arguments')
    .option('--name <name>', 'what the server is called; the name of the program unless given')
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
    .addHelpText('after', '\nExamples:\n  forkpoint serve --workers 4 -- node server.js')
    .action(async (command: string, args: string[], flags: ServeFlags) => {
      finish(await run(cli, [command, ...args], flags));
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

async function run(cli: Cli, command: readonly string[], flags: ServeFlags): Promise<number> {
  const files = packageFiles(cli.lib, cli.places.home);
  const server = new ReforkServer({
    name: flags.name ?? defaultName(command, new Set()),
    command,
    policy: policyOf(flags),
    home: cli.places.home,
    runs: cli.places.runs,
    launcher: files.launcher,
    worker: [process.execPath, files.worker],
    prepare: async (env) =>
      await prepareRun(cli, { command, env, isDetached: false, isJson: false, isPreloaded: true }),
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
