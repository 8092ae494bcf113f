import { accessSync, constants, openSync, readSync, closeSync, realpathSync, statSync } from 'node:fs';
import { basename, delimiter, dirname, isAbsolute, join, resolve } from 'node:path';
import { WarmError } from './error.ts';

/** A command line of Node.js, found on this machine. */
export interface NodeCommand {
  /** What stands for the command without its arguments, as the user wrote it. */
  readonly words: readonly string[];
  /** What an ordinary start in the project is: `words` with the program's absolute path. */
  readonly cold: readonly string[];
  /** Its name in `node_modules/.bin`. */
  readonly bin: string;
  /** What node is given, absolute. */
  readonly entry: string;
  /** The node program, without links. */
  readonly node: string;
  /** Whether node was found by way of PATH. */
  readonly isSearched: boolean;
  /** Options of node itself. */
  readonly flags: readonly string[];
  readonly args: readonly string[];
}

const RUNNERS: readonly (readonly string[])[] = [
  ['npx', '--no-install'],
  ['npx', '--no'],
  ['npx', '--'],
  ['npx'],
  ['npm', 'exec', '--'],
  ['npm', 'exec'],
  ['pnpm', 'exec'],
  ['yarn', 'run'],
  ['yarn'],
];
const FIRST_LINE_MAX = 256;
const NODE_LINE = /^#!\s*(?:\/usr\/bin\/env\s+(?:-S\s+)?node|(\/\S*\/node))((?:\s+-\S+)*)\s*$/;

/**
 * Finds what a command line starts. Throws ERR_FORKPOINT_WARM_COMMAND when that is no script for Node.js, since only those can be
 * warmed.
 */
export function findCommand(
  line: readonly string[],
  cwd: string,
  env: Readonly<Record<string, string | undefined>>,
): NodeCommand {
  const path = env['PATH'] ?? '/usr/local/bin:/usr/bin:/bin';
  if (line[0] === 'node') return nodeScript(line, cwd, path);
  const runner = RUNNERS.find((words) => words.every((word, index) => line[index] === word)) ?? [];
  const name = line[runner.length];
  if (name === undefined || name.startsWith('-'))
    throw refuse(line.join(' '), 'it names no program', 'write the program behind it: `-- npx eslint .`');
  const entry = findScript(name, cwd, path, runner.length > 0);
  const first = NODE_LINE.exec(firstLine(entry));
  if (first === null) throw refuse(entry, 'it is no script for node');
  const node = first[1] ?? findOnPath('node', path);
  if (node === undefined) throw refuse(entry, 'there is no node on PATH');
  return {
    words: line.slice(0, runner.length + 1),
    cold: [entry],
    bin: basename(name),
    entry,
    node: realpathSync(node),
    isSearched: first[1] === undefined,
    flags: (first[2] ?? '').split(/\s+/).filter(Boolean),
    args: line.slice(runner.length + 1),
  };
}

function nodeScript(line: readonly string[], cwd: string, path: string): NodeCommand {
  const at = line.findIndex((word, index) => index > 0 && !word.startsWith('-'));
  const flags = line.slice(1, at < 0 ? undefined : at);
  const script = line[at];
  if (script === undefined) throw refuse(line.join(' '), 'it names no script');
  if (flags.some((flag) => /^--inspect|^-[^-]|^--(require|import|eval|print|watch)$/.test(flag)))
    throw refuse(line.join(' '), `options of node as \`${flags.join(' ')}\` cannot be warmed`);
  const node = findOnPath('node', path);
  if (node === undefined) throw refuse(line.join(' '), 'there is no node on PATH');
  const entry = resolve(cwd, script);
  if (!isFile(entry)) throw refuse(entry, 'there is no such file');
  return {
    words: line.slice(0, at + 1),
    cold: [node, ...flags, entry],
    bin: basename(script),
    entry,
    node: realpathSync(node),
    isSearched: true,
    flags,
    args: line.slice(at + 1),
  };
}

function findScript(name: string, cwd: string, path: string, isLocalFirst: boolean): string {
  if (name.includes('/')) {
    const file = isAbsolute(name) ? name : resolve(cwd, name);
    if (isFile(file)) return file;
    throw refuse(name, 'there is no such file');
  }
  for (let directory = cwd; isLocalFirst; directory = dirname(directory)) {
    const file = join(directory, 'node_modules/.bin', name);
    if (isFile(file)) return file;
    if (directory === dirname(directory)) break;
  }
  const file = findOnPath(name, path);
  if (file !== undefined) return file;
  throw refuse(
    name,
    'it is neither in node_modules/.bin nor on PATH',
    'install it in this project, and run this in the project’s directory',
  );
}

/** Programs of our own stand on PATH under the names of what they start. */
function findOnPath(name: string, path: string): string | undefined {
  for (const directory of path.split(delimiter)) {
    if (!directory.startsWith('/') || directory.endsWith('/warm/bin')) continue;
    const file = join(directory, name);
    if (isFile(file) && isExecutable(file)) return file;
  }
  return undefined;
}

function firstLine(file: string): string {
  const bytes = Buffer.alloc(FIRST_LINE_MAX);
  const fd = openSync(file, 'r');
  try {
    const text = bytes.toString('utf8', 0, readSync(fd, bytes));
    return text.slice(0, Math.max(0, text.indexOf('\n'))).replace(/\r$/, '');
  } finally {
    closeSync(fd);
  }
}

function isFile(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isFile() === true;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    // Somebody else's, or no program: the search goes on, as that of execvp(3) does.
    return false;
  }
}

function refuse(what: string, why: string, hint?: string): WarmError {
  return new WarmError('ERR_FORKPOINT_WARM_COMMAND', `${what} cannot be warmed: ${why}`, hint);
}
