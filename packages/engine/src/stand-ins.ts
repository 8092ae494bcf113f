import { createHash, randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { lastLine, runCommand } from './command.ts';
import type { Compiler } from './compiler.ts';
import { criuEnv } from './criu.ts';
import { importsOf } from './elf-imports.ts';
import type { Import } from './elf-imports.ts';
import { setPlainStack } from './elf-stack.ts';
import { EngineError, errorText } from './error.ts';

/** Libraries that CRIU is linked with and hardly ever calls, and that bring most of the others with them. */
const RARE = /^lib(gnutls|nftables)\.so\.\d+$/;
/** Variables of these libraries, with their first values, in C. */
const VARIABLES: Readonly<Record<string, string>> = {
  gnutls_free: 'extern void free(void *);\nvoid (*gnutls_free)(void *) = free;',
};
const LIBRARY_PATH = '--library-path';
const PREFIX = 'stand-ins-';
/** In place of libraries: why there are none. */
const WHY = 'why';
const TIMEOUT_MS = 60_000;

/** What is needed to make stand-ins. */
export interface StandInOptions {
  /** Receives a directory of its own for each CRIU. */
  readonly engineDir: string;
  /** The command that starts CRIU, and its version. */
  readonly criu: readonly string[];
  readonly version: string;
  /** Only called when something has to be built. */
  readonly compiler: () => Promise<Compiler>;
  readonly log: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Returns a command that starts the same CRIU in less than half the time, or null when there is none. Small libraries
 * stand in for those that CRIU hardly ever calls, and load the real one at the first call: without them the loader maps and
 * relocates some 25 libraries at every start (figures: bench/NOTES.md). Only for a CRIU that is started through its own
 * loader. Where the compiler cannot make them, or CRIU does not start with them, there are none, and that is remembered.
 */
export async function withStandIns(options: StandInOptions): Promise<readonly string[] | null> {
  const { engineDir, criu } = options;
  const at = criu.indexOf(LIBRARY_PATH) + 1;
  const libraries = criu[at];
  if (at === 0 || libraries === undefined) return null;
  const sources = sourcesFor(criu.at(-1) ?? '', libraries.split(':'));
  if (sources.size === 0) return null;
  const digest = createHash('sha256')
    .update(JSON.stringify([...sources, options.version]))
    .digest('hex');
  const place = join(engineDir, PREFIX + digest.slice(0, 16));
  const command = (directory: string): string[] => criu.with(at, `${directory}:${libraries}`);
  if (!existsSync(place)) await make(place, sources, command, options);
  return existsSync(join(place, WHY)) ? null : command(place);
}

async function make(
  place: string,
  sources: ReadonlyMap<string, Source>,
  command: (directory: string) => string[],
  options: StandInOptions,
): Promise<void> {
  const work = join(dirname(place), `.${PREFIX}${process.pid}-${randomBytes(4).toString('hex')}`);
  mkdirSync(work, { mode: 0o755 });
  try {
    const why = await build(work, sources, command(work), options);
    if (why !== '') {
      options.log(`CRIU starts with all of its libraries: ${why}`);
      writeFileSync(join(work, WHY), `${why}\n`);
    }
    renameSync(work, place);
    // A CRIU that is running has its libraries open.
    for (const name of readdirSync(dirname(place)))
      if (name.startsWith(PREFIX) && name !== basename(place))
        rmSync(join(dirname(place), name), { recursive: true, force: true });
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

/** Builds the libraries and starts CRIU with them. Returns why that is of no use; empty when it is. */
async function build(
  work: string,
  sources: ReadonlyMap<string, Source>,
  criu: readonly string[],
  { compiler, version, signal }: StandInOptions,
): Promise<string> {
  const call = async (argv: readonly string[]) =>
    await runCommand(argv, { env: criuEnv(process.env), timeoutMs: TIMEOUT_MS, signal });
  try {
    const { sharedObject } = await compiler();
    for (const [library, { code, script }] of sources) {
      const [file, map, output] = ['c', 'map', 'so'].map((end) => join(work, `source.${end}`)) as [
        string,
        string,
        string,
      ];
      writeFileSync(file, code);
      writeFileSync(map, script);
      const made = await call([
        ...sharedObject(file, output, true),
        `-Wl,-soname,${library}`,
        `-Wl,--version-script,${map}`,
      ]);
      if (made.exitCode !== 0) return `the compiler cannot make a library with versions: ${lastLine(made)}`;
      setPlainStack(output);
      renameSync(output, join(work, library));
      for (const path of [file, map]) rmSync(path);
    }
    const started = await call([...criu, '--version']);
    // The loader complains on stderr when a library lacks a version.
    const isGood =
      started.exitCode === 0 && started.stderr === '' && started.stdout.includes(`Version: ${version}\n`);
    return isGood ? '' : `it does not start with fewer: ${lastLine(started)}`;
  } catch (error) {
    if (error instanceof EngineError && error.code === 'ERR_FORKPOINT_ABORTED') throw error;
    // The engine works without; only its start takes longer.
    return errorText(error);
  }
}

interface Source {
  readonly code: string;
  /** Version script of the linker. */
  readonly script: string;
}

/** Returns the sources by library; none for what is no CRIU that can be read. */
function sourcesFor(executable: string, directories: readonly string[]): Map<string, Source> {
  const byLibrary = new Map<string, Import[]>();
  try {
    for (const found of importsOf(readFileSync(executable))) {
      if (RARE.test(found.library))
        byLibrary.set(found.library, [...(byLibrary.get(found.library) ?? []), found]);
    }
  } catch (error) {
    if (!(error instanceof RangeError)) throw error;
  }
  const sources = new Map<string, Source>();
  for (const [library, imports] of byLibrary) {
    const real = directories.map((path) => join(path, library)).find((path) => existsSync(path));
    const isKnown = imports.every(({ name, isVariable }) => !isVariable || Object.hasOwn(VARIABLES, name));
    if (real === undefined || !isKnown || !/^[\x20-\x7e]+$/.test(real)) continue;
    sources.set(library, { code: codeOf(real, imports), script: scriptOf(imports) });
  }
  return sources;
}

function scriptOf(imports: readonly Import[]): string {
  const versions = [...new Set(imports.map(({ version }) => version))];
  return versions
    .map((version, index) => {
      const own = imports.filter((one) => one.version === version).map(({ name }) => `${name};`);
      return `${version} { global: ${own.join(' ')}${index === 0 ? ' local: *;' : ''} };\n`;
    })
    .join('');
}

/**
 * Every function jumps to where the real one is. At the first call its arguments, which are all in registers or on the
 * stack, are put aside while the real library is loaded; none of these functions takes a variable number of them or floats.
 */
function codeOf(real: string, imports: readonly Import[]): string {
  const names = imports.filter(({ isVariable }) => !isVariable).map(({ name }) => name);
  const variables = imports.filter(({ isVariable }) => isVariable).map(({ name }) => VARIABLES[name] ?? '');
  const jump = (name: string, index: number): string =>
    [
      `.globl ${name}\\n.type ${name}, @function\\n${name}:\\n`,
      `  movq forkpoint_found+${8 * index}(%rip), %r11\\n  testq %r11, %r11\\n  jz 1f\\n  jmp *%r11\\n`,
      `1:  pushq $${index}\\n  jmp forkpoint_first\\n.size ${name}, . - ${name}\\n`,
    ]
      .map((line) => `  "${line}"`)
      .join('\n');
  const saved = ['rdi', 'rsi', 'rdx', 'rcx', 'r8', 'r9'];
  const push = saved.map((register) => `  pushq %${register}\\n`).join('');
  const pop = saved
    .toReversed()
    .map((register) => `  popq %${register}\\n`)
    .join('');
  return `extern void *dlopen(const char *path, int mode);
extern void *dlsym(void *library, const char *name);
__attribute__((visibility("hidden"))) void *forkpoint_found[${names.length}];
__attribute__((visibility("hidden"))) void *forkpoint_find(unsigned long index);
${variables.join('\n')}
static const char *const names[] = {${names.map((name) => `"${name}"`).join(', ')}};
static void *library;
__attribute__((visibility("hidden"))) void *forkpoint_find(unsigned long index) {
  if (library == 0) library = dlopen(${JSON.stringify(real)}, 2);
  void *found = library != 0 ? dlsym(library, names[index]) : 0;
  if (found == 0) __builtin_trap();
  return forkpoint_found[index] = found;
}
__asm__(".text\\n"
  "forkpoint_first:\\n${push}  movq 48(%rsp), %rdi\\n  call forkpoint_find\\n  movq %rax, %r11\\n${pop}  addq $8, %rsp\\n  jmp *%r11\\n"
${names.map(jump).join('\n')});
`;
}
