import { open, readdir } from 'node:fs/promises';
import { join } from 'node:path';

/** Files that are flushed at the same time. */
const WIDTH = 8;

/** Flushes a directory with everything below it to the disk, files before the directories that name them. Throws system errors. */
export async function syncTree(dir: string): Promise<void> {
  const entries = await readdir(dir, { withFileTypes: true });
  for (const entry of entries) if (entry.isDirectory()) await syncTree(join(dir, entry.name));
  const files = entries.filter((entry) => entry.isFile()).map((entry) => join(dir, entry.name));
  for (let at = 0; at < files.length; at += WIDTH)
    await Promise.all(files.slice(at, at + WIDTH).map(syncPath));
  await syncPath(dir);
}

/** Flushes one file or directory to the disk. Throws system errors. */
export async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r');
  try {
    await handle.sync();
  } finally {
    await handle.close();
  }
}
