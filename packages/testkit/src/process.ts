import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { setTimeout as pause } from 'node:timers/promises';

/** How a child is started. */
export interface SpawnOptions {
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string | undefined>>;
  /** What is written to its standard input, which is then closed; nothing and open when absent. */
  readonly input?: string;
  /** Longest life in milliseconds; the child is killed then and the test fails. */
  readonly timeoutMs?: number;
  /** Passed on as they are. */
  readonly stdio?: 'pipe' | readonly ('pipe' | 'ignore' | number)[];
}

/** A child that has ended. */
export interface Finished {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stdout: string;
  readonly stderr: string;
}

const LIMIT_MS = 60_000;
const OUTPUT_MAX = 8 << 20;

/** A child process whose output is kept, and whose lines can be waited for. */
export class Running {
  readonly child: ChildProcess;
  stdout = '';
  stderr = '';
  readonly #ended: Promise<Finished>;
  readonly #listeners = new Set<() => void>();
  #result: Finished | undefined;

  constructor(argv: readonly string[], options: SpawnOptions = {}) {
    const [file, ...args] = argv;
    if (file === undefined) throw new RangeError('nothing to start');
    this.child = spawn(file, args, {
      cwd: options.cwd,
      env: { ...process.env, ...options.env },
      stdio: options.stdio === undefined || options.stdio === 'pipe' ? 'pipe' : [...options.stdio],
    });
    const timer = setTimeout(() => this.child.kill('SIGKILL'), options.timeoutMs ?? LIMIT_MS);
    this.child.stdout?.setEncoding('utf8').on('data', (text: string) => this.#take('stdout', text));
    this.child.stderr?.setEncoding('utf8').on('data', (text: string) => this.#take('stderr', text));
    // A program that ends without reading is nothing unusual here.
    this.child.stdin?.on('error', () => this.child.stdin?.destroy());
    if (options.input !== undefined) this.child.stdin?.end(options.input);
    this.#ended = new Promise((resolve, reject) => {
      this.child.once('error', reject);
      this.child.once('close', (code, signal) => {
        clearTimeout(timer);
        this.#result = { code, signal, stdout: this.stdout, stderr: this.stderr };
        for (const listener of this.#listeners) listener();
        resolve(this.#result);
      });
    });
    // Whoever waits gets the error; nobody has to wait.
    this.#ended.catch(() => this.child.kill('SIGKILL'));
  }

  /** Resolves when the child has ended and its output is complete. */
  async end(): Promise<Finished> {
    return await this.#ended;
  }

  /** Resolves with the match once the output matches; rejects when it ends without, or after `timeoutMs`. */
  async output(pattern: RegExp, timeoutMs = 20_000): Promise<RegExpExecArray> {
    return await new Promise((resolve, reject) => {
      const check = (): void => {
        const match = pattern.exec(this.stdout) ?? pattern.exec(this.stderr);
        if (match !== null) done(() => resolve(match));
        else if (this.#result !== undefined)
          done(() => reject(this.#complaint(pattern, 'the program ended')));
      };
      const timer = setTimeout(
        () => done(() => reject(this.#complaint(pattern, `${timeoutMs} ms passed`))),
        timeoutMs,
      );
      const done = (settle: () => void): void => {
        clearTimeout(timer);
        this.#listeners.delete(check);
        settle();
      };
      this.#listeners.add(check);
      check();
    });
  }

  /** Ends the child, if it lives, and waits for it. */
  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<Finished> {
    if (this.#result === undefined) this.child.kill(signal);
    return await this.#ended;
  }

  #take(stream: 'stdout' | 'stderr', text: string): void {
    if (this[stream].length < OUTPUT_MAX) this[stream] += text;
    for (const listener of this.#listeners) listener();
  }

  #complaint(pattern: RegExp, why: string): Error {
    return new Error(
      `${String(pattern)} did not appear: ${why}\nstdout: ${this.stdout}\nstderr: ${this.stderr}`,
    );
  }
}

/** Runs a command to its end. */
export async function runToEnd(argv: readonly string[], options: SpawnOptions = {}): Promise<Finished> {
  const running = new Running(argv, options);
  if (options.input === undefined) running.child.stdin?.end();
  return await running.end();
}

/** Asks again, every 20 ms, until something comes back; for facts that announce themselves in no other way. Fails after `timeoutMs`. */
export async function eventually<T>(
  ask: () => T | undefined | Promise<T | undefined>,
  what: string | (() => string),
  timeoutMs = 20_000,
): Promise<T> {
  // A clock that nobody sets.
  const deadline = performance.now() + timeoutMs;
  for (;;) {
    const answer = await ask();
    if (answer !== undefined) return answer;
    if (performance.now() > deadline) {
      const text = typeof what === 'string' ? what : what();
      throw new Error(`${text} did not happen within ${timeoutMs} ms`);
    }
    await pause(20);
  }
}
