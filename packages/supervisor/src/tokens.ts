/** A piece of an answer that looks as if it had been drawn at random. */
export interface Token {
  readonly text: string;
  /** How much it may hold, estimated from its length and its characters; at least LEAST_BITS. */
  readonly bits: number;
}

/** What is shorter, or plainer, also turns up twice by chance. */
export const LEAST_BITS = 44;

const CANDIDATE = /\d+\.\d{9,}|[A-Za-z0-9][A-Za-z0-9+/_-]{6,}[A-Za-z0-9=]+/g;
const TEXT_MAX = 16 << 20;

/** Returns the pieces of a text that look random, each once. Pure. */
export function randomTokens(text: string): Map<string, Token> {
  const found = new Map<string, Token>();
  for (const [candidate] of text.slice(0, TEXT_MAX).matchAll(CANDIDATE)) {
    const bits = bitsOf(candidate);
    if (bits >= LEAST_BITS) found.set(candidate, { text: candidate, bits: Math.round(bits) });
  }
  return found;
}

/** Words, paths and names of constants have no bits: they have no digits, or hardly jump between digits, letters and cases. */
function bitsOf(text: string): number {
  const plain = text.replaceAll(/[-+/_=.]/g, '');
  const kinds = [...plain].map((one) => (/\d/.test(one) ? '0' : /[a-z]/.test(one) ? 'a' : 'A'));
  const jumps = kinds.filter((kind, at) => at > 0 && kind !== kinds[at - 1]).length;
  // Digits often repeat by chance; a number that is made of hardly any others is a round one.
  if (/^\d+$/.test(plain)) return (variety(plain) * 2 < plain.length ? 0 : plain.length) * Math.log2(10);
  if (!kinds.includes('0') || jumps < 3 || jumps * 8 < plain.length) return 0;
  if (/^[0-9a-f]+$|^[0-9A-F]+$/.test(plain)) return variety(plain) * 4;
  return variety(plain) * Math.log2(/^[a-z0-9]+$|^[A-Z0-9]+$/.test(plain) ? 36 : 62);
}

/** The number of characters, less those that repeat the one before. */
function variety(text: string): number {
  return [...text].filter((one, at) => one !== text[at - 1]).length;
}
