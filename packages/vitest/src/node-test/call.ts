/** What `node --test` is about to start for one file (lib/internal/test_runner/runner.js, getRunArgs). */
export interface TestCall {
  /** Options of node itself, without our own preload. */
  readonly flags: readonly string[];
  /** As node is given it. */
  readonly file: string;
  readonly env: Readonly<Record<string, string>>;
}

/** What `ChildProcess.prototype.spawn` is given (lib/internal/child_process.js). */
export interface SpawnOptions {
  readonly file: string;
  /** The first one is the program's own name. */
  readonly args: readonly string[];
  /** `NAME=VALUE`. */
  readonly envPairs: readonly string[];
  readonly stdio?: unknown;
  readonly cwd?: unknown;
}

/** What is begun before the image, or written by node itself at the end, belongs to one process. */
const ALONE =
  /^--(inspect|inspect-brk|inspect-wait|watch|cpu-prof|heap-prof|heapsnapshot-signal|prof|perf-basic-prof|perf-prof|trace-event-categories|permission|experimental-permission|localstorage-file|snapshot-blob)(=|$)/;

/** Returns what is started when that is a test file of its own; undefined for everything else. */
export function testCallOf(options: SpawnOptions, own: string): TestCall | undefined {
  const { file, args, envPairs, stdio } = options;
  if (file !== process.execPath || !envPairs.includes('NODE_TEST_CONTEXT=child-v8')) return undefined;
  // With a fourth stream it is watched.
  if (!Array.isArray(stdio) || stdio.length !== 3) return undefined;
  const words = withoutPreload(args.slice(1), own);
  const path = words.at(-1);
  if (path === undefined || path.startsWith('-') || words.includes('--test')) return undefined;
  const env = Object.fromEntries(
    envPairs.map((pair) => {
      const equals = pair.indexOf('=');
      return [pair.slice(0, equals), pair.slice(equals + 1)];
    }),
  );
  return { flags: words.slice(0, -1), file: path, env };
}

/** Returns the words without `--require OWN`, in either spelling. */
export function withoutPreload(words: readonly string[], own: string): string[] {
  return words.filter((word, index) => {
    if (word === `--require=${own}` || word === `-r=${own}`) return false;
    const isPair = (at: number): boolean =>
      (words[at] === '--require' || words[at] === '-r') && words[at + 1] === own;
    return !isPair(index) && !isPair(index - 1);
  });
}

/** Returns why the files of a call cannot be forked; undefined when they can. `typed` are the options of the test runner's own process. */
export function obstacleTo({ flags, env }: TestCall, typed: readonly string[]): string | undefined {
  const alone = [...typed, ...flags].find((flag) => ALONE.test(flag));
  if (alone !== undefined) return `${alone.replace(/=.*/, '')} is of one process`;
  if (env['NODE_V8_COVERAGE'] !== undefined) return 'coverage is of one process from its start';
  const options = env['NODE_OPTIONS'] ?? '';
  if (/(^|\s)--?(r|require|import|loader|experimental-loader)[\s=]/.test(options))
    return 'NODE_OPTIONS loads modules into every process';
  const other = options.split(/\s+/).find((flag) => ALONE.test(flag));
  return other === undefined ? undefined : `${other.replace(/=.*/, '')} in NODE_OPTIONS is of one process`;
}

/** A module that the user has node load before each file. */
export interface OwnPreload {
  readonly kind: 'require' | 'import';
  readonly specifier: string;
}

/**
 * Splits options of node: packages such as tsx are loaded by the mold, and from the first file of the project's own on each fork
 * loads them itself, as it evaluates all files of the project.
 */
export function splitPreloads(flags: readonly string[]): { flags: string[]; later: OwnPreload[] } {
  const kept: string[] = [];
  const later: OwnPreload[] = [];
  for (let at = 0; at < flags.length; at++) {
    const flag = flags[at] ?? '';
    const [, name = '', value] = /^(--require|-r|--import)(?:=(.*))?$/s.exec(flag) ?? [];
    const specifier = value ?? flags[at + 1] ?? '';
    const kind = name === '--import' ? 'import' : 'require';
    const isLate = name !== '' && (isOwn(specifier) || later.some((one) => one.kind === kind));
    if (isLate) later.push({ kind, specifier });
    else kept.push(flag, ...(name !== '' && value === undefined ? [specifier] : []));
    if (name !== '' && value === undefined) at++;
  }
  return { flags: kept, later };
}

function isOwn(specifier: string): boolean {
  return /^(\.{1,2}(\/|$)|\/|file:)/.test(specifier) && !specifier.includes('/node_modules/');
}
