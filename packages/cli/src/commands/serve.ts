import type { Command } from 'commander';
import { InvalidArgumentError } from 'commander';
import { DEFAULT_POLICY, ReforkServer } from '@forkpoint/supervisor';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { prepareRun } from '../prepare-run.ts';
import type { Finish } from '../program.ts';

const WORKERS_MAX = 256;

/** Adds `forkpoint serve`. */
export function addServe(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('serve')
    .summary('serve with workers that are forks of the warmest one')
    .description(
      'Starts a Node.js server once, and serves with copies of it on the same address. The warmest copy becomes the ' +
        'mold of the next generation, and a worker that dies is replaced by a warm one.\n\nSIGHUP starts the program ' +
        'anew and rolls it out without dropping a request, SIGUSR2 reforks, SIGTERM and SIGINT drain and end.',
    )
    .argument('<command>', 'the program; write -- before it')
    .argument('[args...]', 'its arguments')
    .option('--workers <n>', 'number of workers', countOf, DEFAULT_POLICY.workers)
    .option(
      '--refork <n,n,...>',
      'requests of the warmest worker at which it becomes the mold',
      thresholdsOf,
      [...DEFAULT_POLICY.thresholds],
    )
    .passThroughOptions()
    .addHelpText('after', '\nExamples:\n  forkpoint serve --workers 4 -- node server.js')
    .action(async (command: string, args: string[], options: { workers: number; refork: number[] }) => {
      finish(await serve(cli, [command, ...args], options));
    });
}

async function serve(
  cli: Cli,
  command: readonly string[],
  options: { workers: number; refork: number[] },
): Promise<number> {
  const files = packageFiles(cli.lib, cli.places.home);
  const server = new ReforkServer({
    policy: { ...DEFAULT_POLICY, workers: options.workers, thresholds: options.refork },
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
