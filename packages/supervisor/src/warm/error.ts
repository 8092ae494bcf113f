/** What cannot be warmed, or only the ordinary way. */
export class WarmError extends Error {
  override readonly name = 'WarmError';
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: string, message: string, hint?: string) {
    super(message);
    this.code = code;
    this.hint = hint;
  }
}
