import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';

/** Starts what it reads the plans of, one per line. Its children have no input, and outlive it. */
const LOOP = 'while IFS= read -r plan; do "$0" child "$plan" & done';

/**
 * A shell that starts launchers. fork(2) copies the page tables of whoever calls it, and makes every page of it fault once more when it is
 * written to: of a test runner with 200 MB that costs 15 to 30 ms of processor time per clone, of a shell nothing that can be seen.
 */
export class Starter {
  readonly #shell: ChildProcess;
  #isOpen = true;

  /** `env` is what the launchers get. The shell ends with this process, which does not wait for it. */
  constructor(launcher: string, env: NodeJS.ProcessEnv) {
    this.#shell = spawn('/bin/sh', ['-c', LOOP, launcher], {
      env,
      stdio: ['pipe', 'ignore', 'ignore'],
      detached: true,
    });
    const close = (): void => void (this.#isOpen = false);
    this.#shell.on('error', close);
    this.#shell.on('exit', close);
    this.#shell.stdin?.on('error', close);
    this.#shell.unref();
    const input: unknown = this.#shell.stdin;
    if (hasUnref(input)) input.unref();
  }

  /** The shell's process id; undefined when it could not be started. */
  get pid(): number | undefined {
    return this.#shell.pid;
  }

  /** Has the launcher start a child; false when the caller has to do it, because the shell is gone or cannot read the path. */
  start(plan: string): boolean {
    const input = this.#shell.stdin;
    if (!this.#isOpen || input === null || plan.includes('\n')) return false;
    input.write(`${plan}\n`);
    return true;
  }
}

function hasUnref(value: unknown): value is { unref(): void } {
  return typeof value === 'object' && value !== null && 'unref' in value && typeof value.unref === 'function';
}
