/** The things that have a colour; the output reads the same without. */
export type Tone = 'error' | 'warning' | 'hint' | 'success' | 'heading' | 'quiet';

/** Paints text for one stream. */
export type Paint = (tone: Tone, text: string) => string;

const CODES: Readonly<Record<Tone, string>> = {
  error: '1;31',
  warning: '33',
  hint: '36',
  success: '32',
  heading: '1',
  quiet: '2',
};

/** Returns a painter: plain unless the stream is a terminal, NO_COLOR is unset or empty (no-color.org) and TERM is not `dumb`. */
export function paintFor(
  stream: { isTTY?: boolean },
  env: Readonly<Record<string, string | undefined>>,
): Paint {
  const isPlain = stream.isTTY !== true || (env['NO_COLOR'] ?? '') !== '' || env['TERM'] === 'dumb';
  return isPlain ? (_tone, text) => text : (tone, text) => `\u001b[${CODES[tone]}m${text}\u001b[0m`;
}
