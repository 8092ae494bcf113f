import { createHash, randomBytes } from 'node:crypto';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { lastLine, runCommand } from './command.ts';
import type { Compiler } from './compiler.ts';
import { setPlainStack } from './elf-stack.ts';
import { EngineError, errorCode } from './error.ts';

/** What is built and from where. */
export interface NativeOptions {
  /** Holds the launcher's C files and, in `shim/`, shim.c, reseed.c, trim.c, ipc.c, codec.c and record.c. */
  readonly sourceDir: string;
  /** Receives `launcher`, `shim.so`, `reseed.node`, `trim.node`, `ipc.so`, `codec.node` and `record.so`. */
  readonly outDir: string;
  /** Only called when something has to be built. */
  readonly compiler: () => Promise<Compiler>;
  /** Build although nothing has changed. */
  readonly force?: boolean;
  /** A compiler's id: build again when the last build was made by another one. Any will do when absent. */
  readonly compilerId?: string | undefined;
  readonly signal?: AbortSignal | undefined;
  readonly log?: (line: string) => void;
}

/** What a build did. */
export interface NativeResult {
  readonly isBuilt: boolean;
  /** Warnings of the compiler, at most 4,000 characters; empty when there were none. */
  readonly warnings: string;
}

const STAMP = 'native.stamp';
const OUTPUTS = ['launcher', 'shim.so', 'reseed.node', 'trim.node', 'ipc.so', 'codec.node', 'record.so'];
const BUILD_TIMEOUT_MS = 3 * 60_000;
const MAX_SOURCES = 64;
const MAX_SOURCE_BYTES = 4 << 20;

/**
 * Builds the launcher, the preload shim and the reseeding addon when their sources have changed since the last build.
 * Outputs appear by rename, the record of the build last. Throws ERR_FORKPOINT_BUILD with the compiler's words.
 */
export async function buildNative(options: NativeOptions): Promise<NativeResult> {
  const { sourceDir, outDir } = options;
  const sources = readSources(sourceDir);
  const digest = digestOf(sources);
  if (options.force !== true && isCurrent(outDir, digest, options.compilerId))
    return { isBuilt: false, warnings: '' };
  const compiler = await options.compiler();
  options.log?.(`building the launcher with ${compiler.name}`);
  mkdirSync(outDir, { recursive: true, mode: 0o755 });
  const work = join(outDir, `.building-${process.pid}-${randomBytes(4).toString('hex')}`);
  mkdirSync(work);
  try {
    const launcherSources = sources
      .filter(({ name }) => /^[^/]+\.c$/.test(name))
      .map(({ name }) => join(sourceDir, name));
    const shim = join(sourceDir, 'shim', 'shim.c');
    const reseed = join(sourceDir, 'shim', 'reseed.c');
    const trim = join(sourceDir, 'shim', 'trim.c');
    const ipc = join(sourceDir, 'shim', 'ipc.c');
    const codec = join(sourceDir, 'shim', 'codec.c');
    const record = join(sourceDir, 'shim', 'record.c');
    const commands = (isStrict: boolean): string[][] => [
      compiler.executable(launcherSources, join(work, 'launcher'), isStrict),
      compiler.sharedObject(shim, join(work, 'shim.so'), isStrict),
      compiler.sharedObject(reseed, join(work, 'reseed.node'), isStrict),
      compiler.sharedObject(trim, join(work, 'trim.node'), isStrict),
      compiler.sharedObject(ipc, join(work, 'ipc.so'), isStrict),
      compiler.sharedObject(codec, join(work, 'codec.node'), isStrict),
      compiler.sharedObject(record, join(work, 'record.so'), isStrict),
    ];
    const warnings = await compile(commands, options);
    for (const name of OUTPUTS) {
      if (name !== 'launcher') setPlainStack(join(work, name));
      chmodSync(join(work, name), 0o755);
      renameSync(join(work, name), join(outDir, name));
    }
    writeFileSync(join(work, STAMP), `${digest}\n${compiler.id}\n`);
    renameSync(join(work, STAMP), join(outDir, STAMP));
    return { isBuilt: true, warnings };
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/**
 * Compilers of other years warn of other things: what fails with warnings counted as errors is tried once more without, and
 * the warnings are handed back.
 */
async function compile(commands: (isStrict: boolean) => string[][], options: NativeOptions): Promise<string> {
  const env = { ...process.env, LC_ALL: 'C' };
  const call = async (argv: string[]) =>
    await runCommand(argv, { env, timeoutMs: BUILD_TIMEOUT_MS, signal: options.signal });
  const strict = commands(true);
  const lenient = commands(false);
  let warnings = '';
  for (const [index, argv] of strict.entries()) {
    const first = await call(argv);
    if (first.exitCode === 0) continue;
    const second = await call(lenient[index] ?? argv);
    if (second.exitCode !== 0) {
      const errors = second.stderr.split('\n').filter((line) => /\berror\b|undefined/.test(line));
      throw new EngineError(
        'ERR_FORKPOINT_BUILD',
        `${OUTPUTS[index]} cannot be built: ${errors[0] ?? lastLine(second)}`,
        {
          hint: 'set FORKPOINT_CC=fetched to build with a compiler that is known to work, then run `forkpoint setup`',
        },
      );
    }
    warnings = `${warnings}${second.stderr}`.slice(0, 4000);
  }
  if (warnings !== '') options.log?.(`the compiler warned: ${warnings.split('\n')[0] ?? ''}`);
  return warnings;
}

interface Source {
  readonly name: string;
  readonly bytes: Buffer;
}

function readSources(sourceDir: string): Source[] {
  const list = (directory: string): string[] => {
    try {
      return readdirSync(join(sourceDir, directory)).filter((name) => /\.[ch]$/.test(name));
    } catch (error) {
      if (errorCode(error) === 'ENOENT') return [];
      throw error;
    }
  };
  const names = [
    ...list('.').sort(),
    ...list('shim')
      .sort()
      .map((name) => `shim/${name}`),
  ];
  if (
    !names.some((name) => /^[^/]+\.c$/.test(name)) ||
    !names.includes('shim/shim.c') ||
    !names.includes('shim/reseed.c') ||
    !names.includes('shim/trim.c') ||
    !names.includes('shim/ipc.c') ||
    !names.includes('shim/codec.c') ||
    !names.includes('shim/record.c')
  ) {
    throw new EngineError('ERR_FORKPOINT_BUILD', `${sourceDir} does not hold the launcher's source`, {
      hint: 'install forkpoint again: its package is incomplete',
    });
  }
  const sources = names
    .slice(0, MAX_SOURCES)
    .map((name) => ({ name, bytes: readFileSync(join(sourceDir, name)) }));
  const large = sources.find(({ bytes }) => bytes.length > MAX_SOURCE_BYTES);
  if (large === undefined && names.length <= MAX_SOURCES) return sources;
  throw new EngineError('ERR_FORKPOINT_BUILD', `${sourceDir} holds more than the launcher's source`);
}

/** Returns the digest of a source directory, which names its build. Throws ERR_FORKPOINT_BUILD when it is incomplete. */
export function nativeDigest(sourceDir: string): string {
  return digestOf(readSources(sourceDir));
}

function digestOf(sources: readonly Source[]): string {
  const hash = createHash('sha256');
  for (const { name, bytes } of sources) hash.update(`${name} ${bytes.length}\n`).update(bytes);
  return hash.digest('hex');
}

function isCurrent(outDir: string, digest: string, compilerId: string | undefined): boolean {
  if (!OUTPUTS.every((name) => existsSync(join(outDir, name)))) return false;
  try {
    const [builtFrom = '', builtBy = ''] = readFileSync(join(outDir, STAMP), 'utf8').split('\n');
    return builtFrom === digest && (compilerId === undefined || builtBy === compilerId);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return false;
    throw error;
  }
}
