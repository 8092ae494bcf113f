import type { DescMessage } from '@bufbuild/protobuf';
import { configureTextEncoding } from '@bufbuild/protobuf/wire';
import { openEnums } from './enums.ts';
import { bytesToText, textToBytes } from './text.ts';

interface Described {
  readonly kind?: unknown;
}

/**
 * Returns a function that builds the description of a message when it is first asked for, and opens its enumerations. All
 * descriptions of CRIU's messages together take longer to build than a small checkpoint takes to write.
 */
export function lazy<T extends Described>(make: () => T): () => T {
  let made: T | undefined;
  return () => {
    if (made === undefined) {
      made = make();
      if (isMessage(made)) openEnums([made]);
    }
    return made;
  };
}

function isMessage(value: Described): value is DescMessage {
  return value.kind === 'message';
}

// The protobuf library takes its text encoding from one place per copy of the library; only this package uses this copy.
configureTextEncoding({
  encodeUtf8: (text) => new Uint8Array(textToBytes(text)),
  decodeUtf8: (bytes) => bytesToText(bytes),
  checkUtf8: () => true,
});
