import type { DescMessage } from '@bufbuild/protobuf';
import './text.ts';
import { openEnums } from './enums.ts';

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
