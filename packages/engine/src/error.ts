/** What went wrong with the engine, its set-up, the compiler or the native build. */
export type EngineErrorCode =
  | 'ERR_FORKPOINT_ENGINE_MISSING'
  | 'ERR_FORKPOINT_ENGINE_VERSION'
  | 'ERR_FORKPOINT_ENGINE_BROKEN'
  | 'ERR_FORKPOINT_FETCH'
  | 'ERR_FORKPOINT_NO_APT'
  | 'ERR_FORKPOINT_NO_MIRROR'
  | 'ERR_FORKPOINT_SETUP_LOCKED'
  | 'ERR_FORKPOINT_NO_COMPILER'
  | 'ERR_FORKPOINT_BUILD'
  | 'ERR_FORKPOINT_PLACE'
  | 'ERR_FORKPOINT_ABORTED';

/** The error that this package throws; `hint`, when present, names what to run or change next. */
export class EngineError extends Error {
  override readonly name = 'EngineError';
  readonly code: EngineErrorCode;
  readonly hint: string | undefined;

  constructor(code: EngineErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** Returns the `code` of a system error, such as `ENOENT`; an empty string for anything else. */
export function errorCode(error: unknown): string {
  if (!(error instanceof Error) || !('code' in error)) return '';
  return typeof error.code === 'string' ? error.code : '';
}

/** Returns one line that says what an unknown thrown value is about. */
export function errorText(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
