import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeImage } from '@forkpoint/image';

/**
 * Returns how long a dump had the program frozen, in milliseconds (`frozen_time` of CRIU's stats.proto); 0 when CRIU
 * wrote no statistics.
 */
export function frozenMs(directory: string): number {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(join(directory, 'stats-dump'));
  } catch {
    // CRIU's statistics are a courtesy; an image is complete without them.
    return 0;
  }
  const file = decodeImage('stats-dump', bytes);
  if (file.kind !== 'stats') return 0;
  return (file.entries[0]?.message.dump?.frozenTime ?? 0) / 1000;
}
