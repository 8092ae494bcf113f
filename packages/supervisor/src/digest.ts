import { setPriority } from 'node:os';
import { join } from 'node:path';
import { placesAt, recordDigests } from '@forkpoint/store';

const LOWEST_PRIORITY = 19;

/**
 * Computes the digests of a published image, with the lowest priority, until another request needs the worker. Never throws:
 * where it does not come to an end only the digests are missing, and `forkpoint verify --record` computes them.
 */
export async function digestLater(image: string, home: string, hurry: AbortSignal): Promise<void> {
  try {
    setPriority(LOWEST_PRIORITY);
    await recordDigests(image, { memory: join(placesAt(home).cache, 'digests.json'), signal: hurry });
  } catch (error) {
    process.stderr.write(`There are no digests of ${image}: ${String(error)}\n`);
  }
}
