import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { ImageSource } from '@forkpoint/image';

/** Largest image file, pages apart, that is read whole: 256 MiB. */
const FILE_MAX = 256 << 20;

/** Returns an image directory as a source for the codec. Pages files are listed and never read whole. */
export function openSource(directory: string): ImageSource {
  const names = readdirSync(directory).filter((name) => name.endsWith('.img'));
  return {
    names,
    size: (name) => statSync(join(directory, name)).size,
    read: (name) => {
      const bytes = readFileSync(join(directory, name));
      if (bytes.length > FILE_MAX) throw new RangeError(`${name} is larger than ${FILE_MAX} bytes`);
      return bytes;
    },
    readRange: (name, offset, length) => {
      const file = openSync(join(directory, name), 'r');
      try {
        const bytes = Buffer.allocUnsafe(length);
        return bytes.subarray(0, readSync(file, bytes, 0, length, offset));
      } finally {
        closeSync(file);
      }
    },
  };
}
