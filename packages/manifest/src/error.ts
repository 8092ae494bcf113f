/** What went wrong with a plan, a manifest, a path pattern or a protocol line. */
export type ManifestErrorCode =
  | 'ERR_FORKPOINT_PLAN_INVALID'
  | 'ERR_FORKPOINT_MANIFEST_INVALID'
  | 'ERR_FORKPOINT_MANIFEST_NEWER'
  | 'ERR_FORKPOINT_PATTERN'
  | 'ERR_FORKPOINT_POLICY'
  | 'ERR_FORKPOINT_PROTOCOL';

/** The error that this package throws; `hint`, when present, names what to do next. */
export class ManifestError extends Error {
  override readonly name = 'ManifestError';
  readonly code: ManifestErrorCode;
  readonly hint: string | undefined;

  constructor(code: ManifestErrorCode, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}
