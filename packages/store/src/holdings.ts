import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { ImageEntry } from './entries.ts';
import type { Run } from './runs.ts';

/** Returns the page files that living runs hold by links of their own: bytes by key, as in StoredFile. */
export async function heldByRuns(runs: readonly Run[]): Promise<Map<string, number>> {
  const held = new Map<string, number>();
  for (const run of runs.filter(({ isAlive }) => isAlive)) {
    const layers = join(run.dir, 'ctl', 'layers');
    for (const name of await readdir(layers).catch(() => [] as string[])) {
      // A run that ends meanwhile takes its links with it.
      const facts = await lstat(join(layers, name)).catch(() => undefined);
      if (facts !== undefined) held.set(`${facts.dev}:${facts.ino}`, facts.blocks * 512);
    }
  }
  return held;
}

/** Returns the living runs that were restored from an image: from its path, after it was made. */
export function runsOf(image: Pick<ImageEntry, 'path' | 'createdAt'>, runs: readonly Run[]): Run[] {
  return runs.filter(
    // What was restored from an earlier image at this path runs from that one, which is gone.
    (run) => run.isAlive && run.image === image.path && run.startedAt >= image.createdAt,
  );
}
