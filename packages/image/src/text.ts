// Linux file names are bytes. CRIU stores them in protobuf strings without looking at the encoding, so a string of an
// image need not be UTF-8. Every byte that is not part of valid UTF-8 becomes one code unit of U+DC80..U+DCFF, which
// cannot stand alone in valid text, and becomes the same byte again on the way back.
const ESCAPE = 0xdc00;

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });
const encoder = new TextEncoder();
const loneSurrogate = /\p{Surrogate}/u;

/** Returns the text of the bytes; each byte that is not UTF-8 becomes a lone surrogate U+DC80..U+DCFF. */
export function bytesToText(bytes: Uint8Array): string {
  try {
    return strict.decode(bytes);
  } catch {
    // Not UTF-8 as a whole: the slow way below keeps every byte.
    return escapeInvalid(bytes);
  }
}

/** Returns the bytes of a text made by `bytesToText`; other lone surrogates become U+FFFD as in any encoder. */
export function textToBytes(text: string): Uint8Array {
  if (!loneSurrogate.test(text)) return encoder.encode(text);
  const parts: number[] = [];
  for (const character of text) {
    const code = character.codePointAt(0) ?? 0;
    if (code >= ESCAPE + 0x80 && code <= ESCAPE + 0xff) parts.push(code - ESCAPE);
    else parts.push(...encoder.encode(character));
  }
  return Uint8Array.from(parts);
}

function escapeInvalid(bytes: Uint8Array): string {
  let text = '';
  let position = 0;
  while (position < bytes.length) {
    const length = sequenceLength(bytes, position);
    if (length === 0) {
      text += String.fromCharCode(ESCAPE + (bytes[position] ?? 0));
      position++;
    } else {
      text += strict.decode(bytes.subarray(position, position + length));
      position += length;
    }
  }
  return text;
}

/** Length of the valid UTF-8 sequence at `position`, 0 when there is none. */
function sequenceLength(bytes: Uint8Array, position: number): number {
  const first = bytes[position] ?? 0;
  const length =
    first < 0x80 ? 1 : first < 0xc2 ? 0 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 0;
  if (length <= 1 || position + length > bytes.length) return length === 1 ? 1 : 0;
  try {
    strict.decode(bytes.subarray(position, position + length));
    return length;
  } catch {
    // Overlong, a surrogate or a missing continuation byte.
    return 0;
  }
}
