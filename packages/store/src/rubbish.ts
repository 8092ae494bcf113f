import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { filesOf } from './entries.ts';
import { errnoOf } from './error.ts';
import { isId } from './names.ts';
import { isOwnerOver } from './owner.ts';
import type { Places } from './places.ts';
import { ownerOf, removeStale } from './publish.ts';
import { removeTree } from './remove-tree.ts';
import { isAttended, isLauncherAlive } from './runs.ts';
import type { Run } from './runs.ts';

/** Something that nobody needs any more. */
export interface Rubbish {
  readonly kind: 'half-made' | 'run' | 'fork' | 'cache' | 'draft';
  readonly path: string;
  readonly bytes: number;
  readonly why: string;
}

/** What is known of the store when it is searched. */
export interface Surrounding {
  readonly runs: readonly Run[];
  /** Ids of the images that exist. */
  readonly imageIds: ReadonlySet<string>;
  readonly nowMs: number;
  /** Unpacked images that were not used for this long go, in milliseconds. */
  readonly cacheMs: number;
}

const DAY_MS = 24 * 3600 * 1000;
const HOUR_MS = 3600 * 1000;
/** A restore may be using what it has just found in the cache. */
const FRESH_MS = 10 * 60 * 1000;

/** Returns what may go from the data directory, and from further directories of images. Changes nothing. */
export async function findRubbish(
  places: Places,
  given: Surrounding,
  directories: readonly string[] = [],
): Promise<Rubbish[]> {
  const groups = await Promise.all([
    ...[places.images, join(places.cache, 'unpacked'), ...directories].map(
      async (directory) => await halfMade(directory, places.runs, given.nowMs),
    ),
    endedRuns(places.runs, given),
    unusedCache(join(places.cache, 'unpacked'), given),
    drafts(places.cache, given.nowMs),
    abandonedForks(places.cache, given.nowMs),
    ...[places.images, ...directories].map(async (one) => await draftsInImages(one, given.nowMs)),
  ]);
  return groups.flat();
}

/** Removes rubbish. Throws system errors. */
export async function removeRubbish(rubbish: Rubbish): Promise<void> {
  await (rubbish.kind === 'half-made' ? removeStale : removeTree)(rubbish.path);
}

/** Temporary directories of owners that have ended; of unknown owners, those older than a day. */
async function halfMade(directory: string, runs: string, nowMs: number): Promise<Rubbish[]> {
  const found: Rubbish[] = [];
  for (const name of await namesIn(directory)) {
    const owner = ownerOf(name);
    if (owner === undefined) continue;
    const path = join(directory, name);
    const isOver = (await isOwnerOver(owner, runs)) ?? (await isOlder(path, nowMs, DAY_MS));
    if (!isOver || !(await isMine(path))) continue;
    found.push({ kind: 'half-made', path, bytes: await bytesOf(path), why: 'whoever made it has ended' });
  }
  return found;
}

/** Control directories of runs that have ended, with what page files and FIFOs are in them, temporary images of their forks and of themselves, and directories of runs that never ran. */
async function endedRuns(runs: string, { runs: known, nowMs }: Surrounding): Promise<Rubbish[]> {
  const found: Rubbish[] = [];
  for (const run of known.filter(({ isAlive }) => !isAlive)) {
    // A launcher may outlive its program by the work of a last worker.
    if (await isLauncherAlive(run)) continue;
    for (const [kind, part] of [
      ['run', 'ctl'],
      ['fork', 'forks'],
      ['fork', 'image'],
    ] as const) {
      const path = join(run.dir, part);
      if ((await namesIn(path)).length === 0) continue;
      found.push({ kind, path, bytes: await bytesOf(path), why: `the run ${run.name} has ended` });
    }
  }
  const recorded = new Set(known.map(({ id }) => id));
  for (const id of await namesIn(runs)) {
    const path = join(runs, id);
    if (!isId(id) || recorded.has(id) || !(await isOlder(path, nowMs, FRESH_MS))) continue;
    // One that takes long to restore has a launcher that reads its requests.
    if (await isAttended(path)) continue;
    found.push({ kind: 'run', path, bytes: await bytesOf(path), why: 'it never ran' });
  }
  return found;
}

/** Unpacked images: `IMAGEID-DIGEST`; they can be made again at any time. */
async function unusedCache(directory: string, given: Surrounding): Promise<Rubbish[]> {
  const found: Rubbish[] = [];
  for (const name of await namesIn(directory)) {
    if (name.startsWith('.')) continue;
    const path = join(directory, name);
    const isOrphan = !given.imageIds.has(name.slice(0, 12));
    const limitMs = isOrphan ? FRESH_MS : Math.max(FRESH_MS, given.cacheMs);
    if (!(await isOlder(path, given.nowMs, limitMs))) continue;
    const why = isOrphan ? 'its image is not in the store' : 'it was not used for a while';
    found.push({ kind: 'cache', path, bytes: await bytesOf(path), why });
  }
  return found;
}

/** Files that were about to be put in place when their writer died. */
async function drafts(cache: string, nowMs: number): Promise<Rubbish[]> {
  const found: Rubbish[] = [];
  for (const name of await namesIn(cache)) {
    const path = join(cache, name);
    if (!/\.[0-9a-f]{12}\.new$/.test(name)) continue;
    // It may have been put in its place since it was listed, or another gc has removed it.
    const facts = await lstat(path).catch(() => undefined);
    if (facts === undefined || nowMs - facts.mtimeMs <= FRESH_MS) continue;
    found.push({ kind: 'draft', path, bytes: facts.blocks * 512, why: 'its writer has ended' });
  }
  return found;
}

/** Plans and sockets of clones whose maker was killed while they started, which takes minutes at most. */
async function abandonedForks(cache: string, nowMs: number): Promise<Rubbish[]> {
  const found: Rubbish[] = [];
  for (const name of await namesIn(cache)) {
    const path = join(cache, name);
    if (!/^fork-[0-9a-f]{12}(\.sock)?$/.test(name) || !(await isOlder(path, nowMs, HOUR_MS))) continue;
    found.push({ kind: 'fork', path, bytes: await bytesOf(path), why: 'whoever made it has ended' });
  }
  return found;
}

/** Digests that were about to be put into an image. */
async function draftsInImages(images: string, nowMs: number): Promise<Rubbish[]> {
  const found: Rubbish[] = [];
  for (const name of await namesIn(images)) found.push(...(await drafts(join(images, name), nowMs)));
  return found;
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return await readdir(directory);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return [];
    throw error;
  }
}

async function isOlder(path: string, nowMs: number, ageMs: number): Promise<boolean> {
  const facts = await lstat(path).catch(() => undefined);
  return facts !== undefined && nowMs - facts.mtimeMs > ageMs;
}

async function isMine(path: string): Promise<boolean> {
  return (await lstat(path).catch(() => undefined))?.uid === process.getuid?.();
}

async function bytesOf(path: string): Promise<number> {
  // What disappears while it is measured is not there to be removed either.
  const files = await filesOf(path).catch(() => []);
  return files.reduce((sum, { bytes }) => sum + bytes, 0);
}
