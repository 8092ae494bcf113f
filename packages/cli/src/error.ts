/** Exit codes of the command line (docs: exit codes). */
export const EXIT = {
  done: 0,
  user: 1,
  usage: 2,
  engine: 3,
  bug: 70,
  /** `run` and `restore`: failed before the program ran. */
  ours: 125,
  notExecutable: 126,
  notFound: 127,
} as const;

/** An error that a command has already put into words. */
export class CliError extends Error {
  override readonly name = 'CliError';
  readonly code: string;
  readonly exitCode: number;
  readonly hint: string | undefined;
  /** What is behind it, one line each. */
  readonly causes: readonly string[];

  constructor(
    message: string,
    options: { code?: string; exitCode?: number; hint?: string | undefined; causes?: readonly string[] } = {},
  ) {
    super(message);
    this.code = options.code ?? 'ERR_FORKPOINT_CLI';
    this.exitCode = options.exitCode ?? EXIT.user;
    this.hint = options.hint;
    this.causes = options.causes ?? [];
  }
}

/** Returns the error for a command line that cannot be understood. */
export function usageError(message: string, hint?: string): CliError {
  return new CliError(message, { code: 'ERR_FORKPOINT_USAGE', exitCode: EXIT.usage, hint });
}

/** Returns the exit code for a failure with this code: 3 when the engine failed, else 1. */
export function exitCodeFor(code: string): number {
  return /^ERR_FORKPOINT_(ENGINE|CRIU|DUMP|WORKER|LAUNCHER)/.test(code) ? EXIT.engine : EXIT.user;
}
