import type { Command } from 'commander';
import {
  appKey,
  DEFAULT_POLICY,
  ReforkServer,
  SERVICE_VARIABLES,
  serviceManager,
} from '@forkpoint/supervisor';
import type { AppKey, ServeOptions } from '@forkpoint/supervisor';
import { defaultName, readManifest, resolveImage } from '@forkpoint/store';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { usageError } from '../error.ts';
import { sizeBytes } from '../options.ts';
import { withYoungLimit } from '../node-options.ts';
import { adaptRequest, prepareRun } from '../prepare-run.ts';
import type { Finish } from '../program.ts';
import { addServeOrders } from './serve-orders.ts';
import { logModeOf, placeOf, readSettings, thresholdsOf, workersOf } from './serve-settings.ts';
import type { ServeFlags, ServeSettings } from './serve-settings.ts';

/** Adds `forkpoint serve`. */
export function addServe(program: Command, cli: Cli, finish: Finish): void {
  const serve = program
    .command('serve')
    .summary('serve with workers that are forks of the warmest one')
    .description(
      'Starts a Node.js server once, and serves with copies of it on the same address. The warmest copy becomes the ' +
        'mold of the next generation, and a worker that dies is replaced by a warm one.\n\nSIGHUP rolls out new code ' +
        'without dropping a request, SIGUSR2 reforks, SIGTERM and SIGINT drain and end. Settings may stand in ' +
        'forkpoint.config.ts, .mts, .mjs or .js; options go before them.',
    )
    .usage('[options] -- <command> [args...]')
    .argument('[command]', 'the program; write -- before it. With --from, the one of the image unless given')
    .argument('[args...]', 'its arguments')
    .option('--config <file>', 'settings and hooks; forkpoint.config.* in the working directory unless given')
    .option('--name <name>', 'what the server is called; the name of the program unless given')
    .option('--from <image>', 'start the workers from this image instead of starting the program')
    .option('--no-keep', 'neither keep an image for the next start of the same code, nor use one')
    .option('--workers <n>', `number of workers (default: ${DEFAULT_POLICY.workers})`, workersOf)
    .option(
      '--refork <n,n,...>',
      `requests of the warmest worker at which it becomes the mold, or off (default: ${DEFAULT_POLICY.thresholds.join(',')})`,
      thresholdsOf,
    )
    .option('--memory-limit <size>', 'private memory at which a worker is replaced, such as 300MB', sizeBytes)
    .option('--disk-limit <size>', 'space that all images may take together, such as 2GB', sizeBytes)
    .option('--admin <address>', 'where page, metrics and probes are, such as 127.0.0.1:9464', placeOf)
    .option('--log <mode>', 'output of workers: plain, prefix or json (default: plain)', logModeOf)
    .passThroughOptions()
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint serve --workers 4 -- node server.js\n  forkpoint serve --from ./warm --admin 9464',
    )
    .action(async (command: string | undefined, args: string[], flags: ServeFlags) => {
      const settings = await readSettings(cli, flags);
      const words = command === undefined ? [] : [command, ...args];
      finish(await run(cli, await programOf(cli, words, settings), settings));
    });
  addServeOrders(serve, cli, finish);
}

/** What is served. */
interface Program {
  readonly command: readonly string[];
  readonly cwd: string;
  /** Directory of the image that the workers start from at first. */
  readonly from: string | null;
}

/** Returns the program of the command line, else that of the image. */
async function programOf(cli: Cli, command: readonly string[], settings: ServeSettings): Promise<Program> {
  const from = settings.from === undefined ? null : resolveImage(settings.from, cli.cwd, cli.places.images);
  if (command.length > 0) return { command, cwd: cli.cwd, from };
  if (from === null)
    throw usageError('What shall be served is missing', 'Run `forkpoint serve -- node server.js`');
  const manifest = await readManifest(from);
  return { command: manifest.command, cwd: manifest.cwd, from };
}

function optionsOf(cli: Cli, program: Program, settings: ServeSettings): ServeOptions {
  const { command, cwd } = program;
  const files = packageFiles(cli.lib, cli.places.home);
  const isJson = settings.logMode === 'json';
  // What systemd says to the server is not for the program.
  const env = Object.fromEntries(
    Object.entries(cli.env).filter(([name]) => !SERVICE_VARIABLES.some((one) => one === name)),
  );
  const { youngMebibytes } = settings;
  const options =
    youngMebibytes === null ? undefined : withYoungLimit(env['NODE_OPTIONS'], command, youngMebibytes);
  const programs = { ...cli, env: options === undefined ? env : { ...env, NODE_OPTIONS: options } };
  return {
    ...program,
    config: settings.config,
    hooks: settings.hooks,
    admin: settings.admin,
    logMode: settings.logMode,
    policy: settings.policy,
    manager: serviceManager(cli.env, process.pid),
    name: settings.name ?? defaultName(command, new Set()),
    home: cli.places.home,
    runs: cli.places.runs,
    launcher: files.launcher,
    worker: [process.execPath, files.worker],
    preflight: {
      launcher: files.launcher,
      enginePlan: cli.places.enginePlan,
      runs: cli.places.runs,
    },
    keyOf: settings.keeps ? async () => await keyOf(programs, program, settings) : null,
    prepare: async (more) =>
      await prepareRun(programs, {
        command,
        cwd,
        env: more,
        isDetached: false,
        isJson: false,
        isPreloaded: true,
      }),
    write: (stream, text) => (stream === 'stdout' ? cli.writeOut(text) : cli.writeErr(text)),
    log: (level, text) => {
      const mark = level === 'warning' ? `${cli.paintErr('warning', 'Warning:')} ` : '';
      const line = { time: new Date().toISOString(), level, message: text };
      cli.writeErr(isJson ? `${JSON.stringify(line)}\n` : `${mark}${text}\n`);
    },
  };
}

async function run(cli: Cli, program: Program, settings: ServeSettings): Promise<number> {
  const server = new ReforkServer(optionsOf(cli, program, settings));
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
async function keyOf(cli: Cli, { command, cwd }: Program, { config }: ServeSettings): Promise<AppKey | null> {
  const { file } = adaptRequest(cli, { command, isPreloaded: true }, cwd);
  const { native, preload } = packageFiles(cli.lib, cli.places.home);
  const files = [file, native, preload, ...(config === null ? [] : [config])];
  return await appKey({ command, cwd, env: cli.env, files });
}
