import { createHash } from 'node:crypto';
import { readFileSync, statSync } from 'node:fs';
import { readFile, stat } from 'node:fs/promises';

/** A file as it was: what it said counts, time and size only spare a look at it. */
export interface Stamp {
  readonly path: string;
  readonly size: number;
  readonly mtimeMs: number;
  readonly sha256: string;
}

/** Files that are looked at at the same time. */
const AT_ONCE = 32;

/** Looks at files; those that cannot be read are left out. */
export async function stampsOf(paths: readonly string[]): Promise<Stamp[]> {
  const stamps = await inGroups(paths, async (path) => {
    try {
      const [{ size, mtimeMs }, content] = await Promise.all([stat(path), readFile(path)]);
      return { path, size, mtimeMs, sha256: createHash('sha256').update(content).digest('hex') };
    } catch {
      // No file of its own, such as one that a loader makes up.
      return undefined;
    }
  });
  return stamps.filter((one) => one !== undefined);
}

/** Returns the path of a file that says something else now, or is gone; undefined when none does. */
export async function changedOf(stamps: readonly Stamp[]): Promise<string | undefined> {
  const changed = await inGroups(stamps, async ({ path, size, mtimeMs, sha256 }) => {
    try {
      const now = await stat(path);
      if (now.size === size && now.mtimeMs === mtimeMs) return undefined;
      if (now.size !== size) return path;
      const content = await readFile(path);
      return createHash('sha256').update(content).digest('hex') === sha256 ? undefined : path;
    } catch {
      return path;
    }
  });
  return changed.find((path) => path !== undefined);
}

/** Whether a file says something else now, or is gone. Synchronous, for whoever cannot wait. */
export function isChangedSync({ path, size, mtimeMs, sha256 }: Stamp): boolean {
  try {
    const now = statSync(path);
    if (now.size === size && now.mtimeMs === mtimeMs) return false;
    return now.size !== size || createHash('sha256').update(readFileSync(path)).digest('hex') !== sha256;
  } catch {
    return true;
  }
}

async function inGroups<T, R>(all: readonly T[], look: (one: T) => Promise<R>): Promise<R[]> {
  const results: R[] = [];
  for (let at = 0; at < all.length; at += AT_ONCE)
    results.push(...(await Promise.all(all.slice(at, at + AT_ONCE).map(look))));
  return results;
}
