import { randomBytes } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  readlinkSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { decodeEnginePlan, encodeEnginePlan } from '@forkpoint/manifest';
import type { EnginePlan } from '@forkpoint/manifest';
import type { FetchContext } from './apt.ts';
import { makeCode } from './code.ts';
import { findCompiler } from './compiler.ts';
import type { Compiler, CompilerChoice } from './compiler.ts';
import { checkCriu, criuVersion, MINIMUM_CRIU, isAtLeast, requireVersion, systemCrius } from './criu.ts';
import { EngineError, errorCode, errorText } from './error.ts';
import { withLock } from './lock.ts';
import { buildNative, nativeDigest } from './native.ts';
import type { NativeResult } from './native.ts';
import { withStandIns } from './stand-ins.ts';
import { checkPlace, fetchTree, removeLeftovers, treeCommand } from './package-tree.ts';

/** What to set up and where. */
export interface SetupOptions {
  /** The data directory, an absolute path; made with mode 0700 when missing. */
  readonly home: string;
  /** Called with one line per step. */
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
  /** Find or fetch CRIU again, and build again, although all is there. */
  readonly force?: boolean;
  /** When given, the launcher is built as well. */
  readonly native?: { readonly sourceDir: string };
  /** The directory of the bundles that are to be compiled ahead, with the launcher. */
  readonly bundles?: string;
  /** `auto` when absent, or what the environment variable FORKPOINT_CC says. */
  readonly compiler?: CompilerChoice;
  /**
   * Where PATH, FORKPOINT_CC, FORKPOINT_DEBIAN_MIRROR, FORKPOINT_SYSTEM_CRIU (`0`: fetch one in any case) and proxies are
   * read from; this process's when absent.
   */
  readonly env?: NodeJS.ProcessEnv;
}

/** What is there after a set-up. */
export interface SetupResult {
  readonly criu: readonly string[];
  readonly version: string;
  /** `present`: it was set up already. */
  readonly source: 'present' | 'system' | 'fetched';
  /** Null when no native build was asked for. */
  readonly native: NativeResult | null;
}

const PLAN = 'engine.plan';
const LOCK = 'setup.lock';
const CRIU = 'usr/sbin/criu';
const SUITES = ['forky', 'sid'];
const MAX_PLAN_BYTES = 1 << 20;

/**
 * Makes the engine ready: a CRIU of the system when it is new enough and passes its own check, else Debian's, fetched
 * with its libraries below the data directory; and builds the launcher, and what makes CRIU start quicker, when asked to. Does nothing, and uses no network, when all is there. Two at
 * once wait for each other. Throws EngineError.
 */
export async function setup(options: SetupOptions): Promise<SetupResult> {
  checkPlace(options.home);
  const engineDir = engineDirectory(options.home);
  const force = options.force === true;
  const before = force ? null : await presentEngine(options.home, options.signal);
  if (before !== null && options.native === undefined) return { ...before, source: 'present', native: null };
  makeDirectory(options.home);
  makeDirectory(engineDir);
  const context: FetchContext = { env: options.env ?? process.env, log: options.log, signal: options.signal };
  const lock = { log: options.log, signal: options.signal };
  return await withLock(join(engineDir, LOCK), lock, async () => {
    removeLeftovers(engineDir);
    const present = force ? null : await presentEngine(options.home, options.signal);
    const engine =
      present === null ? await makeEngine(engineDir, context) : { ...present, source: 'present' as const };
    if (options.native === undefined) return { ...engine, native: null };
    const native = await makeNative(options, options.native, context);
    await makeQuick(engineDir, engine, compilerOf(options, context), context);
    if (options.bundles !== undefined) await makeCode(engineDir, options.bundles, context);
    return { ...engine, native };
  });
}

/** Returns the directory that holds the engine of a data directory. */
export function engineDirectory(home: string): string {
  return join(home, 'engine');
}

/**
 * Returns how CRIU is called, as the last set-up recorded it; the files are looked at, CRIU is not started. Throws
 * ERR_FORKPOINT_ENGINE_MISSING and ERR_FORKPOINT_ENGINE_BROKEN.
 */
export function readEngine(home: string): EnginePlan {
  const path = join(engineDirectory(home), PLAN);
  let plan: EnginePlan;
  try {
    const bytes = readFileSync(path);
    if (bytes.length > MAX_PLAN_BYTES) throw new Error('it is too large');
    plan = decodeEnginePlan(bytes);
  } catch (error) {
    const isMissing = errorCode(error) === 'ENOENT';
    throw new EngineError(
      isMissing ? 'ERR_FORKPOINT_ENGINE_MISSING' : 'ERR_FORKPOINT_ENGINE_BROKEN',
      isMissing ? 'CRIU is not set up yet' : `${path} is of no use: ${errorText(error)}`,
      { hint: 'run `forkpoint setup`', cause: error },
    );
  }
  const missing = plan.criu
    .filter((word) => word.startsWith('/'))
    .find((word) => !word.split(':').every((file) => existsSync(file)));
  if (missing === undefined) return plan;
  throw new EngineError('ERR_FORKPOINT_ENGINE_BROKEN', `${missing} is missing, which CRIU is started with`, {
    hint: 'run `forkpoint setup`',
  });
}

/** Returns the engine when it is there and starts; null when it has to be made. */
async function presentEngine(home: string, signal: AbortSignal | undefined): Promise<EnginePlan | null> {
  try {
    const plan = readEngine(home);
    const version = await criuVersion(plan.criu, signal);
    // A CRIU of the system may have been replaced since.
    return version === plan.version ? plan : null;
  } catch (error) {
    // Whatever is wrong with it, making it again is the answer.
    if (error instanceof EngineError && error.code !== 'ERR_FORKPOINT_ABORTED') return null;
    throw error;
  }
}

async function makeEngine(engineDir: string, context: FetchContext): Promise<Omit<SetupResult, 'native'>> {
  const system = await findSystemCriu(context);
  if (system !== null) {
    writePlan(engineDir, system);
    return { ...system, source: 'system' };
  }
  const check = async (root: string): Promise<{ version: string; value: null }> => {
    const version = await criuVersion(treeCommand(root, CRIU), context.signal);
    requireVersion(version, 'what was fetched');
    return { version, value: null };
  };
  const request = { name: 'criu', packages: ['criu'], mode: 'closure' as const, suites: SUITES, check };
  const { directory, version } = await fetchTree(engineDir, request, context);
  const plan = { criu: treeCommand(directory, CRIU), version };
  writePlan(engineDir, plan);
  context.log(`CRIU ${version} is ready`);
  const verdict = await checkCriu(plan.criu, context.signal);
  if (verdict.verdict !== 'good') {
    context.log(`CRIU may not work on this machine: ${verdict.reason} (\`forkpoint doctor\` tells more)`);
  }
  return { ...plan, source: 'fetched' };
}

async function findSystemCriu(context: FetchContext): Promise<EnginePlan | null> {
  if (context.env['FORKPOINT_SYSTEM_CRIU'] === '0') return null;
  for (const path of systemCrius(context.env['PATH'] ?? '')) {
    try {
      const version = await criuVersion([path], context.signal);
      if (!isAtLeast(version, MINIMUM_CRIU)) {
        context.log(`${path} is CRIU ${version}; ${MINIMUM_CRIU} or newer is needed`);
        continue;
      }
      const { verdict, reason } = await checkCriu([path], context.signal);
      if (verdict === 'bad') {
        context.log(`${path} does not pass its own check: ${reason}`);
        continue;
      }
      context.log(`using ${path}, CRIU ${version}`);
      return { criu: [path], version };
    } catch (error) {
      if (!(error instanceof EngineError) || error.code === 'ERR_FORKPOINT_ABORTED') throw error;
      context.log(error.message);
    }
  }
  return null;
}

/** Adds to the engine's plan the command that starts CRIU with fewer libraries, when there is one. */
async function makeQuick(
  engineDir: string,
  { criu, version, quick }: EnginePlan,
  compiler: () => Promise<Compiler>,
  { log, signal }: FetchContext,
): Promise<void> {
  const found = await withStandIns({ engineDir, criu, version, compiler, log, signal });
  if (found?.join('\0') === quick?.join('\0')) return;
  writePlan(engineDir, { criu, version, quick: found ?? undefined });
}

function choiceOf(options: SetupOptions, context: FetchContext): CompilerChoice {
  return options.compiler ?? (context.env['FORKPOINT_CC'] || 'auto');
}

function compilerOf(options: SetupOptions, context: FetchContext): () => Promise<Compiler> {
  return async () => await findCompiler(engineDirectory(options.home), choiceOf(options, context), context);
}

async function makeNative(
  options: SetupOptions,
  place: { readonly sourceDir: string },
  context: FetchContext,
): Promise<NativeResult> {
  const find = compilerOf(options, context);
  // Somebody who names a compiler wants what is there to come from it.
  const named = choiceOf(options, context) === 'auto' ? null : await find();
  // Every build keeps a directory of its own: programs and images have the shim mapped by its path, and CRIU refuses a
  // file that has changed.
  const builds = join(engineDirectory(options.home), 'native');
  const name = nativeDigest(place.sourceDir).slice(0, 16);
  makeDirectory(builds);
  const result = await buildNative({
    sourceDir: place.sourceDir,
    outDir: join(builds, name),
    compiler: async () => named ?? (await find()),
    compilerId: named?.id,
    force: options.force === true,
    signal: options.signal,
    log: options.log,
  });
  pointTo(join(builds, 'current'), name);
  return result;
}

/** Makes a symbolic link point to `target`, atomically. */
function pointTo(link: string, target: string): void {
  try {
    if (readlinkSync(link) === target) return;
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  const draft = `${link}.${process.pid}`;
  rmSync(draft, { force: true });
  symlinkSync(target, draft);
  renameSync(draft, link);
}

/** Returns the directory of the newest native build of a data directory; it may not exist. */
export function nativeDirectory(home: string): string {
  const current = join(engineDirectory(home), 'native', 'current');
  try {
    return realpathSync(current);
  } catch {
    // Nothing has been built yet; whoever looks into it learns so.
    return current;
  }
}

function makeDirectory(path: string): void {
  try {
    mkdirSync(path, { recursive: true, mode: 0o700 });
  } catch (error) {
    throw new EngineError(
      'ERR_FORKPOINT_PLACE',
      `the directory ${path} cannot be made: ${errorText(error)}`,
      {
        hint: 'set FORKPOINT_HOME to a directory that you may write to',
        cause: error,
      },
    );
  }
}

function writePlan(engineDir: string, plan: EnginePlan): void {
  const beside = join(engineDir, `.${PLAN}-${randomBytes(4).toString('hex')}`);
  const file = openSync(beside, 'wx', 0o600);
  try {
    writeSync(file, encodeEnginePlan(plan));
    fsyncSync(file);
  } catch (error) {
    rmSync(beside, { force: true });
    throw error;
  } finally {
    closeSync(file);
  }
  renameSync(beside, join(engineDir, PLAN));
}
