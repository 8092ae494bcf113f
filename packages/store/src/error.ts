/** What went wrong in the data directory, with a run or with an image. */
export type StoreErrorCode =
  | 'ERR_FORKPOINT_HOME'
  | 'ERR_FORKPOINT_NAME'
  | 'ERR_FORKPOINT_RUN_NOT_FOUND'
  | 'ERR_FORKPOINT_RUN_AMBIGUOUS'
  | 'ERR_FORKPOINT_RUN_INVALID'
  | 'ERR_FORKPOINT_RUN_GONE'
  | 'ERR_FORKPOINT_IMAGE_NOT_FOUND'
  | 'ERR_FORKPOINT_IMAGE_INVALID'
  | 'ERR_FORKPOINT_IMAGE_CHANGED'
  | 'ERR_FORKPOINT_DESTINATION'
  | 'ERR_FORKPOINT_FLATTEN'
  | 'ERR_FORKPOINT_PUBLISH'
  | 'ERR_FORKPOINT_REMOVE'
  | 'ERR_FORKPOINT_IN_USE'
  | 'ERR_FORKPOINT_REWRITE'
  | 'ERR_FORKPOINT_DIGEST'
  | 'ERR_FORKPOINT_CODEC'
  | 'ERR_FORKPOINT_TIMEOUT'
  | 'ERR_FORKPOINT_CANCELLED'
  | 'ERR_FORKPOINT_ANSWER';

/** The error that this package throws; `hint`, when present, names what to do next. */
export class StoreError extends Error {
  override readonly name = 'StoreError';
  readonly code: StoreErrorCode;
  readonly hint: string | undefined;

  constructor(code: StoreErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** Returns the errno name of a system error, or undefined. */
export function errnoOf(error: unknown): string | undefined {
  if (!(error instanceof Error) || !('code' in error) || typeof error.code !== 'string') return undefined;
  return error.code;
}

/** Returns an error as it is, and a system error in words: `what` says what could not be done. */
export function worded(cause: unknown, code: StoreErrorCode, what: string): unknown {
  const errno = errnoOf(cause);
  if (errno === undefined || cause instanceof StoreError || !/^E[A-Z0-9]+$/.test(errno)) return cause;
  const hint = errno === 'ENOSPC' ? 'Make room there, with `forkpoint gc` for example' : undefined;
  return new StoreError(code, `${what}: ${reasonOf(cause)}`, {
    cause,
    ...(hint === undefined ? {} : { hint }),
  });
}

/** Returns a system error's reason in words, without the call and the path that Node puts behind it. */
export function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  const words = /^E[A-Z0-9]+: ([^,]+)/.exec(error.message);
  return words?.[1] ?? error.message;
}
