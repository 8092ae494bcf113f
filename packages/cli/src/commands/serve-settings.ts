import { existsSync } from 'node:fs';
import { isIP } from 'node:net';
import { basename, join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DEFAULT_POLICY, parseConfig } from '@forkpoint/supervisor';
import type { LogMode, MonitorHooks, PlaceToListen, ReforkPolicy, Settings } from '@forkpoint/supervisor';
import { InvalidArgumentError } from 'commander';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';

const NAMES = ['ts', 'mts', 'mjs', 'js', 'cjs'].map((extension) => `forkpoint.config.${extension}`);
const WORKERS_MAX = 256;
/** A worker shares none of it: with V8's 16 MiB eight workers of the benchmark and their server held 372 MB, with 4 MiB 301, for 3 % more processor time (bench/NOTES.md). */
const YOUNG_MEBIBYTES = 4;

/** What `forkpoint serve` may be told on the command line. */
export interface ServeFlags {
  readonly config?: string;
  readonly name?: string;
  readonly from?: string;
  readonly keep: boolean;
  readonly workers?: number;
  readonly refork?: readonly number[];
  readonly memoryLimit?: number;
  readonly diskLimit?: number;
  readonly admin?: PlaceToListen;
  readonly log?: LogMode;
}

/** What holds, after the command line and the configuration file. */
export interface ServeSettings {
  readonly config: string | null;
  readonly hooks: MonitorHooks;
  readonly name: string | undefined;
  readonly from: string | undefined;
  readonly keeps: boolean;
  readonly admin: PlaceToListen | null;
  readonly logMode: LogMode;
  readonly policy: ReforkPolicy;
  /** MiB for each half of V8's young generation; null for V8's own limit. */
  readonly youngMebibytes: number | null;
}

/** Reads the configuration file, if there is one. Throws a CliError that names it when it cannot be loaded, and ERR_FORKPOINT_CONFIG. */
export async function readSettings(cli: Cli, flags: ServeFlags): Promise<ServeSettings> {
  const config =
    flags.config === undefined
      ? (NAMES.map((name) => join(cli.cwd, name)).find((path) => existsSync(path)) ?? null)
      : resolve(cli.cwd, flags.config);
  const { settings, hooks } =
    config === null ? { settings: {}, hooks: {} } : parseConfig(await load(config), basename(config));
  const { admin } = settings;
  return {
    config,
    hooks,
    name: flags.name ?? settings.name,
    from: flags.from ?? settings.from,
    keeps: flags.keep && settings.keep !== false,
    admin: flags.admin ?? (admin === undefined ? null : adminOf(config ?? '', admin)),
    logMode: flags.log ?? settings.log ?? 'plain',
    policy: policyOf(flags, settings),
    youngMebibytes: settings.youngGeneration === false ? null : (settings.youngGeneration ?? YOUNG_MEBIBYTES),
  };
}

async function load(path: string): Promise<unknown> {
  const isTypeScript = /\.m?ts$/.test(path);
  // `strip` or `transform` where Node.js reads TypeScript: from 22.18 and 23.6 on.
  const reads: unknown = Reflect.get(process.features, 'typescript');
  if (isTypeScript && (reads === undefined || reads === false)) {
    throw new CliError(`${basename(path)} cannot be read by Node.js ${process.versions.node}`, {
      code: 'ERR_FORKPOINT_CONFIG',
      causes: ['it reads TypeScript from version 22.18 on'],
      hint: 'Call it forkpoint.config.mjs and leave the types out, or set FORKPOINT_NODE to a newer Node.js',
    });
  }
  try {
    return await import(pathToFileURL(path).href);
  } catch (error) {
    throw new CliError(`the configuration ${path} cannot be loaded`, {
      code: 'ERR_FORKPOINT_CONFIG',
      causes: [error instanceof Error ? `${error.name}: ${error.message}` : String(error)],
    });
  }
}

function policyOf(flags: ServeFlags, settings: Settings): ReforkPolicy {
  const base = DEFAULT_POLICY;
  const softRequestMs = settings.timeoutMs ?? base.softRequestMs;
  return {
    ...base,
    workers: flags.workers ?? settings.workers ?? base.workers,
    thresholds: flags.refork ?? settings.refork ?? base.thresholds,
    reforkAfterMs: settings.reforkAfterMs ?? null,
    reforkAfterGrowth: settings.reforkAfterGrowth ?? null,
    reforkWhenWarmMs: settings.reforkWhenWarmMs ?? null,
    memoryLimit: flags.memoryLimit ?? settings.memoryLimit ?? null,
    diskLimit: flags.diskLimit ?? settings.diskLimit ?? null,
    softRequestMs,
    hardRequestMs: settings.hardTimeoutMs ?? Math.max(base.hardRequestMs, 2 * softRequestMs),
    bootMs: settings.bootTimeoutMs ?? base.bootMs,
    readyMs: settings.readyTimeoutMs ?? base.readyMs,
    drainMs: settings.drainTimeoutMs ?? base.drainMs,
    silenceMs: settings.silenceTimeoutMs ?? base.silenceMs,
  };
}

function adminOf(config: string, text: string): PlaceToListen {
  try {
    return placeOf(text);
  } catch {
    throw new CliError(`${basename(config)}: \`admin\` cannot be ${JSON.stringify(text)}`, {
      code: 'ERR_FORKPOINT_CONFIG',
      hint: "It is a port, or an address with one: admin: '127.0.0.1:9464'",
    });
  }
}

/** Returns an address of PORT or HOST:PORT; for use as an option parser of commander. */
export function placeOf(text: string): PlaceToListen {
  const [, inner, host = inner ?? '127.0.0.1', port = ''] =
    /^(?:(?:\[([^\]]+)\]|([^:]+)):)?(\d{1,5})$/.exec(text) ?? [];
  if (port === '' || Number(port) > 65_535 || (host !== 'localhost' && isIP(host) === 0))
    throw new InvalidArgumentError('It is a port, or an address with one, such as 127.0.0.1:9464.');
  return { host: host === 'localhost' ? '127.0.0.1' : host, port: Number(port) };
}

/** Returns a number of workers; for use as an option parser of commander. */
export function workersOf(text: string): number {
  const count = Number(text);
  if (!Number.isSafeInteger(count) || count < 1 || count > WORKERS_MAX)
    throw new InvalidArgumentError(`It is a whole number from 1 to ${WORKERS_MAX}.`);
  return count;
}

/** Returns thresholds of requests; for use as an option parser of commander. */
export function thresholdsOf(text: string): number[] {
  if (text === 'off') return [];
  const numbers = text.split(',').map(Number);
  if (numbers.some((one) => !Number.isSafeInteger(one) || one < 1))
    throw new InvalidArgumentError('It is a list of numbers of requests, such as 50,100,1000, or off.');
  return numbers;
}

/** Returns how output is written; for use as an option parser of commander. */
export function logModeOf(text: string): LogMode {
  if (text === 'plain' || text === 'prefix' || text === 'json') return text;
  throw new InvalidArgumentError('It is plain, prefix or json.');
}
