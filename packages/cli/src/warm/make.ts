import { spawn } from 'node:child_process';
import { existsSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import {
  compareRuns,
  copyProject,
  encodeWarmPlan,
  readRecord,
  runCommand,
  WarmError,
} from '@forkpoint/supervisor/warm';
import type {
  Level,
  NodeCommand,
  Orders,
  Outcome,
  Report,
  Seen,
  Terminals,
} from '@forkpoint/supervisor/warm';
import { packageFiles } from '../context.ts';
import type { Cli } from '../context.ts';
import { prepareRun } from '../prepare-run.ts';

/** What is to be warmed. */
export interface MakeRequest {
  readonly name: string;
  /** The project, an absolute path without links. */
  readonly project: string;
  readonly command: NodeCommand;
  /** Which standard streams are terminals: `000` to `111`. */
  readonly variant: string;
  readonly runs: number;
  /** Receives `plan` and `image`; appears whole. */
  readonly directory: string;
  readonly signal: AbortSignal;
}

/** What was made. */
export interface Made {
  readonly level: Level;
  /** Processor time of the warm-up runs in milliseconds. */
  readonly runMs: readonly number[];
  readonly paths: number;
  readonly coldMs: number;
  readonly warmMs: number;
}

const LEVELS: readonly Level[] = ['entry', 'package'];
const RUN_LIMIT_MS = 180_000;
const LIMIT_MS = 600_000;
/** What this command line and the launcher need, and the program shall not see. */
const HIDDEN = ['FORKPOINT_WARM', 'FORKPOINT_RECORD', 'LD_PRELOAD', 'NODE_OPTIONS'];

/**
 * Warms a command in copies of its project, compares the image with an ordinary start, and publishes it. Throws a WarmError with
 * the difference when no way to start it again gives the same answer.
 */
export async function makeImage(cli: Cli, request: MakeRequest): Promise<Made> {
  const work = join(dirname(request.directory), `.making-${request.variant}-${process.pid}`);
  await rm(work, { recursive: true, force: true });
  await mkdir(work, { recursive: true, mode: 0o700 });
  try {
    const cold = await timed(() =>
      attempt(cli, request, work, [...request.command.cold, ...request.command.args]),
    );
    const reasons: string[] = [];
    for (const level of LEVELS) {
      const out = join(work, level);
      const { report, seen } = await warmUp(cli, request, { work, level, out });
      await writeFile(join(out, 'plan'), await planOf(cli, request, report, seen), { mode: 0o600 });
      const launcher = [packageFiles(cli.lib, cli.places.home).launcher, 'warm-check', cli.places.home, out];
      const warm = await timed(() => attempt(cli, request, work, [...launcher, ...request.command.args]));
      const difference = compareRuns(cold.value, warm.value);
      if (difference === undefined) {
        await rm(request.directory, { recursive: true, force: true });
        await rename(out, request.directory);
        const { runMs } = report;
        return { level, runMs, paths: seen.length, coldMs: cold.tookMs, warmMs: warm.tookMs };
      }
      reasons.push(`started again from its ${level === 'entry' ? 'first file' : 'package'}: ${difference}`);
    }
    throw new WarmError(
      'ERR_FORKPOINT_WARM_DIFFERS',
      `${request.name} stays cold, since its image does not answer as it does (${reasons.join('; ')})`,
    );
  } finally {
    await rm(work, { recursive: true, force: true });
  }
}

/** Runs a command in a fresh copy of the project; both kinds of start find the same paths. */
async function attempt(
  cli: Cli,
  { project, variant }: MakeRequest,
  work: string,
  argv: readonly string[],
): Promise<Outcome> {
  const place = join(work, '0');
  await rm(place, { recursive: true, force: true });
  const copy = copyProject(project, place);
  const env = { ...cli.env, FORKPOINT_LIB: undefined, FORKPOINT_PLAN_FD: undefined };
  const isTerminal = variant !== '000';
  return await runCommand(argv, { cwd: copy, env, directory: copy, isTerminal, limitMs: RUN_LIMIT_MS });
}

async function warmUp(
  cli: Cli,
  request: MakeRequest,
  { work, level, out }: { work: string; level: Level; out: string },
): Promise<{ report: Report; seen: Seen[] }> {
  const { command, project, runs, variant } = request;
  const files = packageFiles(cli.lib, cli.places.home);
  await mkdir(out, { recursive: true, mode: 0o700 });
  const directories = Array.from({ length: runs }, (_, index) => {
    const into = join(work, String(index + 1));
    return existsSync(into) ? into + project : copyProject(project, into);
  });
  const record = join(work, `${level}.record`);
  const report = join(work, `${level}.report`);
  await writeFile(record, '', { mode: 0o600 });
  const orders: Orders = {
    entry: command.entry,
    args: command.args,
    directories,
    level,
    terminals: [...variant].map((bit) => bit === '1') as unknown as Terminals,
    image: join(out, 'image'),
    report,
    limitMs: RUN_LIMIT_MS,
    hidden: HIDDEN,
    env: ownValues(cli),
  };
  await writeFile(join(work, 'orders.json'), JSON.stringify(orders), { mode: 0o600 });
  const startedAt = Date.now();
  const said = await run(cli, request, work, {
    FORKPOINT_WARM: join(work, 'orders.json'),
    FORKPOINT_RECORD: record,
    LD_PRELOAD: [join(files.native, 'record.so'), cli.env['LD_PRELOAD']].filter(Boolean).join(':'),
  });
  const facts = await reportOf(report, request, said);
  const scope = {
    work,
    own: [cli.places.pod, cli.places.runs, join(cli.places.home, 'engine')],
    temporary: tmpdir(),
    startedAt,
  };
  return { report: facts, seen: readRecord(await readFile(record), scope) };
}

/** Values of the user's own that the run has others of. */
function ownValues(cli: Cli): Record<string, string> {
  const pairs = ['LD_PRELOAD', 'NODE_OPTIONS'].flatMap((name) => {
    const value = cli.env[name];
    return value === undefined ? [] : [[name, value] as const];
  });
  return Object.fromEntries(pairs);
}

async function reportOf(path: string, { name }: MakeRequest, said: string): Promise<Report> {
  let report: Report | undefined;
  try {
    report = JSON.parse(await readFile(path, 'utf8')) as Report;
  } catch {
    // It never came so far; what it said last is the reason.
  }
  if (report !== undefined && report.error === undefined && report.exitCodes.length > 0) return report;
  const reason = report?.error ?? (said.trim().split('\n').slice(-3).join(' ') || 'it ended early');
  throw new WarmError('ERR_FORKPOINT_WARM_FAILED', `${name} cannot be warmed: ${reason.slice(0, 600)}`);
}

/** Runs the warm-up in the foreground, so that it ends with us; returns what it wrote to stderr. */
async function run(
  cli: Cli,
  request: MakeRequest,
  work: string,
  env: Record<string, string>,
): Promise<string> {
  const { node, flags } = request.command;
  const files = packageFiles(cli.lib, cli.places.home);
  const driver = join(cli.lib, 'dist', 'warm.cjs');
  const plan = await prepareRun(cli, {
    command: [node, ...flags, driver],
    cwd: work,
    env,
    isDetached: false,
    isJson: false,
    isPreloaded: true,
  });
  const child = spawn(files.launcher, ['run', plan], {
    env: { ...cli.env, FORKPOINT_LIB: cli.lib },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: LIMIT_MS,
    killSignal: 'SIGKILL',
    signal: request.signal,
  });
  let said = '';
  child.stdout.resume();
  child.stderr.on('data', (chunk: Buffer) => (said = (said + chunk.toString()).slice(-4000)));
  await new Promise<void>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => resolve());
  });
  return said;
}

async function planOf(
  cli: Cli,
  request: MakeRequest,
  report: Report,
  seen: readonly Seen[],
): Promise<Uint8Array> {
  const { command, project } = request;
  const { launcher } = packageFiles(cli.lib, cli.places.home);
  const limits = await runCommand([launcher, 'warm', cli.places.home, '--limits'], {
    cwd: '/',
    env: {},
    directory: dirname(launcher),
    isTerminal: false,
    limitMs: RUN_LIMIT_MS,
  });
  if (limits.code !== 0)
    throw new WarmError('ERR_FORKPOINT_WARM_FAILED', `the launcher is an older one: ${limits.stderr.trim()}`);
  return encodeWarmPlan({
    project,
    bin: command.bin,
    cold: command.cold,
    node: command.node,
    isSearched: command.isSearched,
    limits: limits.stdout.trim(),
    env: cli.env,
    read: report.names,
    isCopied: report.isCopied,
    seen,
  });
}

async function timed<T>(work: () => Promise<T>): Promise<{ value: T; tookMs: number }> {
  const began = performance.now();
  const value = await work();
  return { value, tookMs: Math.round(performance.now() - began) };
}
