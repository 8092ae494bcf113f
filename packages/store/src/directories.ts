import { mkdir, stat } from 'node:fs/promises';
import { dirname } from 'node:path';
import { errnoOf, StoreError } from './error.ts';

/**
 * Makes a directory and its missing parents, and adds those that it made to `created`, outermost first. Throws
 * ERR_FORKPOINT_DESTINATION when a file is in the way, and system errors. Node's own recursive mkdir is not used: it never
 * returns where the file system answers ENOENT to mkdir(2), as /proc does (seen with Node 24).
 */
export async function makeMissing(directory: string, created: string[], mode = 0o777): Promise<void> {
  const missing: string[] = [];
  for (let at = directory; ; at = dirname(at)) {
    try {
      if ((await stat(at)).isDirectory()) break;
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      missing.unshift(at);
      continue;
    }
    throw new StoreError('ERR_FORKPOINT_DESTINATION', `${at} is not a directory`);
  }
  for (const path of missing) {
    try {
      await mkdir(path, { mode });
      created.push(path);
    } catch (error) {
      // Two processes may make the same parent; only the one that made it removes it again.
      if (errnoOf(error) !== 'EEXIST') throw error;
    }
  }
}
