import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { constants } from 'node:os';
import { join } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** What one run of a command has left. */
export interface Outcome {
  readonly stdout: string;
  readonly stderr: string;
  /** Its exit code, 128+n for a signal. */
  readonly code: number;
  /** Digests of the files of the directory, by their paths. */
  readonly files: ReadonlyMap<string, string>;
}

const OUTPUT_MAX = 32 << 20;
/** Longest part of a line in a message. */
const SHOWN = 120;
/** Times as tools print them: they differ between any two runs. */
const TIMES = /\b\d+([.,]\d+)?\s?(ms|s|sec|seconds|milliseconds|µs|us)\b/g;

/**
 * Runs a command to its end and looks at what it has left in `directory`. With `isTerminal` it has a pseudo terminal, by way of
 * script(1), and what it prints comes out as one. Rejects when it cannot be started, or takes longer than the limit.
 */
export async function runCommand(
  argv: readonly string[],
  options: {
    readonly cwd: string;
    readonly env: Readonly<Record<string, string | undefined>>;
    readonly directory: string;
    readonly isTerminal: boolean;
    readonly limitMs: number;
  },
): Promise<Outcome> {
  const line = options.isTerminal ? ['script', '-qec', argv.map(quoted).join(' '), '/dev/null'] : argv;
  const [file = '', ...args] = line;
  const child = spawn(file, args, {
    cwd: options.cwd,
    env: { ...options.env },
    // An input that ends would be typed as the end of input into the terminal.
    stdio: [options.isTerminal ? 'pipe' : 'ignore', 'pipe', 'pipe'],
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  const size = { out: 0, err: 0 };
  const { stdout: outStream, stderr: errStream } = child;
  outStream?.on('data', (chunk: Buffer) => (size.out += chunk.length) <= OUTPUT_MAX && out.push(chunk));
  errStream?.on('data', (chunk: Buffer) => (size.err += chunk.length) <= OUTPUT_MAX && err.push(chunk));
  const limit = new AbortController();
  const ended = new Promise<number>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code, signal) =>
      resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
    );
  });
  const late = wait(options.limitMs, undefined, { signal: limit.signal }).then(() => {
    child.kill('SIGKILL');
    throw new Error(`${argv.join(' ')} did not end within ${options.limitMs / 1000} s`);
  });
  try {
    const code = await Promise.race([ended, late]);
    const [stdout, stderr] = [out, err].map((chunks) => Buffer.concat(chunks).toString('utf8'));
    return { stdout: stdout ?? '', stderr: stderr ?? '', code, files: filesOf(options.directory) };
  } finally {
    limit.abort();
    late.catch(() => undefined);
  }
}

/** Returns what differs between an ordinary run and one from an image, in one line; undefined when nothing does. */
export function compareRuns(cold: Outcome, warm: Outcome): string | undefined {
  if (cold.code !== warm.code) return `exit code ${warm.code} instead of ${cold.code}${tail(warm)}`;
  for (const stream of ['stdout', 'stderr'] as const) {
    const [one, other] = [cold, warm].map((outcome) => outcome[stream].replaceAll(TIMES, 'TIME').split('\n'));
    const at = one?.findIndex((line, index) => line !== other?.[index]) ?? -1;
    if (at >= 0 || one?.length !== other?.length) {
      const line = at >= 0 ? at : (one?.length ?? 0);
      return `${stream}, line ${line + 1}: ${shown(other?.[line], one?.[line])} instead of ${shown(one?.[line], other?.[line])}`;
    }
  }
  for (const path of new Set([...cold.files.keys(), ...warm.files.keys()]))
    if (cold.files.get(path) !== warm.files.get(path)) return `the file ${path} is another one`;
  return undefined;
}

function tail(warm: Outcome): string {
  const line = warm.stderr.trimEnd().split('\n').at(-1) ?? '';
  return line === '' ? '' : `: ${line.slice(0, 200)}`;
}

/** Returns a line from a little before the place at which it differs from the other one. */
function shown(line: string | undefined, other: string | undefined): string {
  if (line === undefined) return 'nothing';
  let at = 0;
  while (at < line.length && line[at] === other?.[at]) at++;
  const from = at < SHOWN / 2 ? 0 : at - SHOWN / 4;
  return `${from > 0 ? '…' : ''}${JSON.stringify(line.slice(from, from + SHOWN))}`;
}

function filesOf(directory: string, below = '', found = new Map<string, string>()): Map<string, string> {
  for (const entry of readdirSync(join(directory, below), { withFileTypes: true })) {
    const path = join(below, entry.name);
    if (entry.name === 'node_modules') continue;
    if (entry.isDirectory()) filesOf(directory, path, found);
    else if (entry.isFile()) {
      const full = join(directory, path);
      const digest = createHash('sha256').update(readFileSync(full)).digest('hex');
      found.set(path, `${statSync(full).mode.toString(8)} ${digest}`);
    } else found.set(path, 'special');
  }
  return found;
}

function quoted(word: string): string {
  return `'${word.replaceAll("'", String.raw`'\''`)}'`;
}
