import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { EngineError, errorCode, errorText } from './error.ts';

/** How a command is run. */
export interface CommandOptions {
  readonly cwd?: string;
  /** The whole environment; the caller's when absent. */
  readonly env?: NodeJS.ProcessEnv;
  /** Milliseconds until the command is killed; 60,000 when absent. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal | undefined;
  /** Called with each line of standard output as it appears. */
  readonly onLine?: (line: string) => void;
}

/** How a command ended. `exitCode` is 127 when it was not found and 128 + n when signal n ended it. */
export interface CommandResult {
  readonly exitCode: number;
  readonly stdout: string;
  readonly stderr: string;
  readonly isTimeout: boolean;
}

const DEFAULT_TIMEOUT_MS = 60_000;
/** Bytes kept of each stream; what follows is read and dropped, so that the command is not blocked. */
const MAX_OUTPUT_BYTES = 1 << 20;

/**
 * Runs a command with a time limit and returns how it ended; a non-zero exit is not an error here. Throws
 * ERR_FORKPOINT_ABORTED when the signal fires.
 */
export function runCommand(argv: readonly string[], options: CommandOptions = {}): Promise<CommandResult> {
  const [file = '', ...rest] = argv;
  return new Promise((resolve, reject) => {
    if (options.signal?.aborted === true) return reject(aborted(file));
    let isTimeout = false;
    const child = spawn(file, rest, {
      cwd: options.cwd,
      env: options.env ?? process.env,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    const stdout = collector(options.onLine);
    const stderr = collector();
    child.stdout.on('data', stdout.add);
    child.stderr.on('data', stderr.add);
    const kill = (): void => void child.kill('SIGKILL');
    const timer = setTimeout(() => {
      isTimeout = true;
      kill();
    }, options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
    options.signal?.addEventListener('abort', kill, { once: true });
    const done = (): void => {
      clearTimeout(timer);
      options.signal?.removeEventListener('abort', kill);
    };
    child.once('error', (error) => {
      done();
      const exitCode = errorCode(error) === 'ENOENT' ? 127 : 126;
      resolve({ exitCode, stdout: '', stderr: errorText(error), isTimeout: false });
    });
    child.once('close', (code, signal) => {
      done();
      if (options.signal?.aborted === true) return reject(aborted(file));
      const exitCode = code ?? 128 + (signal === null ? 0 : constants.signals[signal]);
      resolve({ exitCode, stdout: stdout.end(), stderr: stderr.end(), isTimeout });
    });
  });
}

/** Returns the last line with text of what a command wrote, the error stream first; at most 300 characters. */
export function lastLine(result: CommandResult): string {
  const lines = `${result.stdout}\n${result.stderr}`.split('\n').map((line) => line.trim());
  const found = lines.reverse().find((line) => line !== '');
  if (result.isTimeout) return 'it took too long and was ended';
  return found === undefined ? `it ended with exit code ${result.exitCode}` : found.slice(0, 300);
}

function aborted(file: string): EngineError {
  return new EngineError(
    'ERR_FORKPOINT_ABORTED',
    `the command ${file} was ended because the work was cancelled`,
  );
}

interface Collector {
  readonly add: (chunk: Buffer) => void;
  readonly end: () => string;
}

function collector(onLine?: (line: string) => void): Collector {
  const chunks: Buffer[] = [];
  let kept = 0;
  let rest = '';
  return {
    add: (chunk) => {
      if (kept < MAX_OUTPUT_BYTES) chunks.push(chunk.subarray(0, MAX_OUTPUT_BYTES - kept));
      kept += chunk.length;
      if (onLine === undefined) return;
      const lines = (rest + chunk.toString('latin1')).split('\n');
      rest = (lines.pop() ?? '').slice(0, 4096);
      for (const line of lines) onLine(line);
    },
    end: () => Buffer.concat(chunks).toString('utf8'),
  };
}
