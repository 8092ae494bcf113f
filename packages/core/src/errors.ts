import type { BlockingResource } from './types.ts';

/** What a failed checkpoint carries besides its message. */
export interface CheckpointFailure {
  code: string;
  message: string;
  resources?: BlockingResource[];
  errors?: unknown[];
  hint?: string;
}

/** Tells that no image was made; the program goes on and every afterRestore hook has run. */
export class CheckpointException extends AggregateError {
  override readonly name: string = 'CheckpointException';
  /** Stable code, ERR_FORKPOINT_... */
  code: string;
  /** What stood in the way, as far as it is known. */
  resources: BlockingResource[];
  /** What to do next, when there is something. */
  hint?: string;

  constructor(failure: CheckpointFailure) {
    super(failure.errors ?? [], withHint(failure.message, failure.hint));
    this.code = failure.code;
    this.resources = failure.resources ?? [];
    if (failure.hint !== undefined) this.hint = failure.hint;
  }
}

/** Tells that an afterRestore hook failed, or something else that belongs to a restore; all hooks have run. */
export class RestoreException extends AggregateError {
  override readonly name: string = 'RestoreException';
  /** Stable code, ERR_FORKPOINT_... */
  code: string;

  constructor(code: string, message: string, errors: unknown[]) {
    super(errors, message);
    this.code = code;
  }
}

/** A failure of one step of the library: a hook that took too long, a control directory that does not answer. */
export class CoreError extends Error {
  override readonly name: string = 'CoreError';
  /** Stable code, ERR_FORKPOINT_... */
  readonly code: string;

  constructor(code: string, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.code = code;
  }
}

/** Returns the code of an error, or `fallback` when it has none. */
export function codeOf(error: unknown, fallback: string): string {
  if (typeof error !== 'object' || error === null || !('code' in error)) return fallback;
  return typeof error.code === 'string' ? error.code : fallback;
}

/** Returns the message of anything that was thrown. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** Returns the causes inside nested AggregateErrors as one flat list; other errors stand for themselves. */
export function flattenErrors(errors: readonly unknown[], depth = 0): unknown[] {
  // The depth is limited because an AggregateError may contain itself.
  return errors.flatMap((error) =>
    error instanceof AggregateError && depth < 16 ? flattenErrors(error.errors, depth + 1) : [error],
  );
}

/** Returns what stood in the way, for an exception or a report. */
export function blockers(errors: readonly unknown[], kind: string): BlockingResource[] {
  return errors.map((error) => ({ kind, what: messageOf(error).slice(0, 200), pid: process.pid }));
}

/** Returns the first message and how many more there are. */
export function describe(errors: readonly unknown[]): string {
  const first = messageOf(errors[0]);
  return errors.length === 1 ? first : `${first}, and ${errors.length - 1} more failures`;
}

function withHint(message: string, hint: string | undefined): string {
  return hint === undefined || hint === '' ? message : `${message} (${hint})`;
}
