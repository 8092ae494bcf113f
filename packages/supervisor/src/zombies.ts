import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { summarize } from '@forkpoint/image';
import { MANIFEST_FILE } from '@forkpoint/store';
import { parseManifest } from '@forkpoint/manifest';
import { openSource } from './source.ts';
import type { Identity } from './surroundings.ts';

/**
 * Returns the wait statuses of the zombies in the image that this run was restored from, by pid; none when the image is
 * gone or another one has taken its place. A restored zombie's status cannot be read again (see `rewrite`).
 */
export function earlierZombies({ image, imageId }: Pick<Identity, 'image' | 'imageId'>): Map<number, number> {
  const found = new Map<number, number>();
  if (image === null) return found;
  try {
    if (parseManifest(readFileSync(join(image, MANIFEST_FILE), 'utf8')).id !== imageId) return found;
    for (const { pid, waitStatus } of summarize(openSource(image)).processes) {
      if (waitStatus !== undefined) found.set(pid, waitStatus);
    }
  } catch {
    // Moved or deleted since: a run does not depend on its image. Then a zombie's status stays what the dump saw.
    return found;
  }
  return found;
}
