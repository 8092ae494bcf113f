import { mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { delimiter, join } from 'node:path';
import { lastLine, runCommand } from './command.ts';
import { EngineError, errorCode } from './error.ts';
import type { FetchContext } from './apt.ts';
import { fetchTree, treeCommand } from './package-tree.ts';

/** A C compiler and how to call it. */
export interface Compiler {
  /** Changes whenever what it makes may change: path, size and time of the program, and our flags. */
  readonly id: string;
  /** For messages. */
  readonly name: string;
  /** Returns the command that makes a static executable of C files. Without `isStrict`, warnings do not stop it. */
  readonly executable: (sources: readonly string[], output: string, isStrict: boolean) => string[];
  /** Returns the command that makes a shared object which needs no library of one C file. */
  readonly sharedObject: (source: string, output: string, isStrict: boolean) => string[];
}

/** `auto`: the machine's compiler, else a fetched one; `fetched`: always a fetched one; else a path or a name on PATH. */
export type CompilerChoice = 'auto' | 'fetched' | (string & {});

const FLAGS = ['-std=gnu11', '-O2', '-Wall', '-Wextra', '-Wformat=2'];
const TRIAL_TIMEOUT_MS = 60_000;
const TCC = 'usr/bin/tcc';
// linux-libc-dev has the kernel's headers, libc6 the loader and the library that tcc itself needs.
const TCC_PACKAGES = ['tcc', 'musl-dev', 'linux-libc-dev', 'libc6'];
/** tcc is not part of every suite. */
const TCC_SUITES = ['forky', 'sid', 'host', 'trixie', 'bookworm'];
const TRIAL_PROGRAM =
  '#include <stdio.h>\n#include <linux/capability.h>\nint main(void) { return puts("ok") < 0; }\n';
const TRIAL_OBJECT = 'int forkpoint_trial(int value) { return value + 1; }\n';

/**
 * Returns a compiler that is able to make static executables and shared objects, tried with small ones. Fetches tcc and
 * musl below `engineDir` when the machine has none. Throws ERR_FORKPOINT_NO_COMPILER, and what fetching throws.
 */
export async function findCompiler(
  engineDir: string,
  choice: CompilerChoice,
  context: FetchContext,
): Promise<Compiler> {
  const reasons: string[] = [];
  if (choice !== 'fetched') {
    for (const name of choice === 'auto' ? ['cc', 'gcc', 'clang'] : [choice]) {
      const path = findProgram(name, context.env['PATH'] ?? '');
      if (path === null) continue;
      const compiler = hostCompiler(path);
      const reason = await trial(compiler, context.signal);
      if (reason === null) return compiler;
      reasons.push(`${path}: ${reason}`);
      context.log(`${path} is of no use: ${reason}`);
    }
    if (choice !== 'auto') {
      throw new EngineError(
        'ERR_FORKPOINT_NO_COMPILER',
        `the compiler ${choice} is of no use: ${reasons[0] ?? 'there is no such program'}`,
        { hint: 'unset FORKPOINT_CC, then a compiler is found or fetched' },
      );
    }
  }
  const present = presentTree(engineDir);
  if (present !== null) {
    const compiler = fetchedCompiler(present);
    if ((await trial(compiler, context.signal)) === null) return compiler;
  }
  return await fetchCompiler(engineDir, reasons, context);
}

async function fetchCompiler(engineDir: string, reasons: string[], context: FetchContext): Promise<Compiler> {
  const check = async (root: string): Promise<{ version: string; value: null }> => {
    const compiler = fetchedCompiler(root);
    const reason = await trial(compiler, context.signal);
    if (reason !== null)
      throw new EngineError('ERR_FORKPOINT_NO_COMPILER', `the fetched tcc is of no use: ${reason}`);
    const result = await runCommand([...treeCommand(root, TCC), '-v'], { signal: context.signal });
    return {
      version: /version ([0-9][0-9.]*)/.exec(result.stdout + result.stderr)?.[1] ?? 'unknown',
      value: null,
    };
  };
  try {
    const request = {
      name: 'tcc',
      packages: TCC_PACKAGES,
      mode: 'exact' as const,
      suites: TCC_SUITES,
      check,
    };
    const { directory } = await fetchTree(engineDir, request, context);
    return fetchedCompiler(directory);
  } catch (error) {
    if (!(error instanceof EngineError) || error.code === 'ERR_FORKPOINT_ABORTED') throw error;
    const before = reasons.length === 0 ? 'there is no C compiler' : reasons.join('; ');
    throw new EngineError('ERR_FORKPOINT_NO_COMPILER', `${before}; ${error.message}`, {
      hint: 'install a C compiler with its static libraries, such as the packages gcc and libc6-dev',
      cause: error,
    });
  }
}

function hostCompiler(path: string): Compiler {
  const flags = (isStrict: boolean): string[] => (isStrict ? [...FLAGS, '-Werror'] : FLAGS);
  return {
    id: `${fileId(path)} ${FLAGS.join(' ')}`,
    name: path,
    executable: (sources, output, isStrict) => [
      path,
      ...flags(isStrict),
      '-static',
      '-o',
      output,
      ...sources,
    ],
    sharedObject: (source, output, isStrict) => [
      path,
      ...flags(isStrict),
      '-shared',
      '-fPIC',
      '-nostdlib',
      '-o',
      output,
      source,
    ],
  };
}

/** tcc looks for libraries at fixed places and knows no musl: every path is given. */
function fetchedCompiler(root: string): Compiler {
  const own = join(root, 'usr/lib/x86_64-linux-gnu/tcc');
  const musl = join(root, 'usr/lib/x86_64-linux-musl');
  const includes = [
    join(own, 'include'),
    join(root, 'usr/include/x86_64-linux-musl'),
    join(root, 'usr/include'),
    join(root, 'usr/include/x86_64-linux-gnu'),
  ].map((path) => `-I${path}`);
  const start = [...treeCommand(root, TCC), `-B${own}`, '-nostdinc', ...includes, '-Wall'];
  const strict = (isStrict: boolean): string[] => (isStrict ? ['-Werror'] : []);
  const before = [join(musl, 'crt1.o'), join(musl, 'crti.o')];
  // The C library twice: what helps the compiler needs some of it, and it is searched in order.
  const libc = join(musl, 'libc.a');
  const after = [libc, join(own, 'libtcc1.a'), libc, join(musl, 'crtn.o')];
  return {
    id: fileId(join(root, TCC)),
    name: 'tcc (fetched)',
    executable: (sources, output, isStrict) => [
      ...start,
      ...strict(isStrict),
      '-static',
      '-nostdlib',
      '-o',
      output,
      ...before,
      ...sources,
      ...after,
    ],
    sharedObject: (source, output, isStrict) => [
      ...start,
      ...strict(isStrict),
      '-shared',
      '-fPIC',
      '-nostdlib',
      '-o',
      output,
      source,
    ],
  };
}

/** Returns why a compiler cannot be used, or null when it made a static program that runs, and a shared object. */
async function trial(compiler: Compiler, signal: AbortSignal | undefined): Promise<string | null> {
  const directory = mkdtempSync(join(tmpdir(), 'forkpoint-cc-'));
  const options = { timeoutMs: TRIAL_TIMEOUT_MS, signal, env: { ...process.env, LC_ALL: 'C' } };
  try {
    const program = join(directory, 'program.c');
    const object = join(directory, 'object.c');
    writeFileSync(program, TRIAL_PROGRAM);
    writeFileSync(object, TRIAL_OBJECT);
    const output = join(directory, 'program');
    for (const argv of [
      compiler.executable([program], output, true),
      compiler.sharedObject(object, join(directory, 'object.so'), true),
    ]) {
      const result = await runCommand(argv, options);
      if (result.exitCode !== 0) return lastLine(result);
    }
    const run = await runCommand([output], options);
    // A temporary directory mounted noexec says nothing about the compiler.
    if (run.exitCode === 126) return null;
    return run.stdout === 'ok\n' ? null : `a program that it made does not run: ${lastLine(run)}`;
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

function presentTree(engineDir: string): string | null {
  try {
    const names = readdirSync(engineDir).filter((name) => name.startsWith('tcc-'));
    const found = names.map((name) => join(engineDir, name)).find((root) => fileId(join(root, TCC)) !== '');
    return found ?? null;
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return null;
    throw error;
  }
}

function findProgram(name: string, searchPath: string): string | null {
  if (name.includes('/')) return fileId(name) === '' ? null : name;
  const paths = searchPath.split(delimiter).filter((path) => path.startsWith('/'));
  return paths.map((path) => join(path, name)).find((path) => fileId(path) !== '') ?? null;
}

/** Returns path, size and time of a file in one string; empty when there is no such file. */
function fileId(path: string): string {
  try {
    const stat = statSync(path);
    return stat.isFile() ? `${path} ${stat.size} ${Math.trunc(stat.mtimeMs)}` : '';
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'EACCES'].includes(errorCode(error))) return '';
    throw error;
  }
}
