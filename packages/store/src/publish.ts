import { randomBytes } from 'node:crypto';
import { lstat, mkdir, readdir, realpath, rename, rmdir, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { makeMissing } from './directories.ts';
import { errnoOf, reasonOf, StoreError } from './error.ts';
import { stateOfPlace } from './images.ts';
import { removeTree } from './remove-tree.ts';
import { syncPath, syncTree } from './sync.ts';

/** A place where an image will appear, and the directory beside it in which it is made. */
export interface Destination {
  /** Absolute, with a symbolic link at its end resolved. */
  readonly path: string;
  /** The directory to fill; on the same file system as `path`. */
  readonly temporary: string;
  /** Parent directories that were made, outermost first. */
  readonly created: readonly string[];
}

/** Swaps two directories atomically (renameat2, RENAME_EXCHANGE). */
export type Exchange = (a: string, b: string) => Promise<void>;

/** How a destination was filled. */
export type Published = 'created' | 'replaced';

/** A temporary directory whose run is not known to be over is removed when it is older than this. */
const UNKNOWN_OWNER_MS = 24 * 3600 * 1000;

/**
 * Makes the missing parents of a destination and a temporary directory beside it, mode 0700.
 * Throws ERR_FORKPOINT_DESTINATION, with nothing left behind, when something foreign lies there or it cannot be written.
 */
export async function openDestination(path: string, runId: string): Promise<Destination> {
  const created: string[] = [];
  let temporary: string | undefined;
  try {
    const real = await realPlace(path);
    if ((await stateOfPlace(real)) === 'foreign') throw foreign(real);
    const parent = dirname(real);
    await makeMissing(parent, created);
    temporary = join(parent, temporaryName(basename(real), runId));
    await mkdir(temporary, { mode: 0o700 });
    return { path: real, temporary, created };
  } catch (cause) {
    await removeCreated(created);
    if (cause instanceof StoreError) throw cause;
    throw new StoreError(
      'ERR_FORKPOINT_DESTINATION',
      `the destination ${path} cannot be used: ${reasonOf(cause)}`,
      {
        hint: 'Give a destination that you may write to',
        cause,
      },
    );
  }
}

/**
 * Flushes the temporary directory (unless `sync` is false) and puts it at its place: by rename where nothing or an empty directory is, by `exchange` where an
 * image is, which is then removed.
 * Throws ERR_FORKPOINT_PUBLISH, and the place is then as it was; the caller discards the destination.
 */
export async function publish(
  destination: Destination,
  options: { exchange: Exchange; sync?: boolean },
): Promise<Published> {
  const { path, temporary } = destination;
  try {
    if (options.sync !== false) await syncTree(temporary);
    const state = await stateOfPlace(path);
    if (state === 'foreign') throw foreign(path);
    if (state === 'image') await options.exchange(temporary, path);
    // rename(2) takes the place of an empty directory, and fails when it is no longer empty.
    else await rename(temporary, path);
    if (options.sync !== false) await syncPath(dirname(path));
    // What is left now is the image that was replaced; if it stays, cleanStale takes it later.
    if (state === 'image') await removeTree(temporary).catch(() => undefined);
    return state === 'image' ? 'replaced' : 'created';
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw new StoreError('ERR_FORKPOINT_PUBLISH', `the image cannot be put at ${path}: ${reasonOf(cause)}`, {
      cause,
    });
  }
}

/** Removes what openDestination made: the temporary directory, and the parents as far as they are empty. */
export async function discard(destination: Destination): Promise<void> {
  await removeTree(destination.temporary);
  await removeCreated(destination.created);
}

/**
 * Removes temporary directories of dead owners from a directory and returns their paths.
 * `isOver` tells whether a run has ended: true, false, or undefined when it is not known; then only those older than a day go.
 */
export async function cleanStale(
  directory: string,
  isOver: (runId: string) => Promise<boolean | undefined>,
): Promise<string[]> {
  const removed: string[] = [];
  for (const name of await readdir(directory)) {
    const runId = ownerOf(name);
    if (runId === undefined) continue;
    const path = join(directory, name);
    try {
      const over = await isOver(runId);
      const facts = await stat(path);
      if (facts.uid !== process.getuid?.()) continue;
      if (over === false || (over === undefined && Date.now() - facts.mtimeMs < UNKNOWN_OWNER_MS)) continue;
      await removeStale(path);
      removed.push(path);
    } catch (error) {
      // Another process may clean up at the same time; leftovers that resist are no reason to fail a checkpoint.
      if (errnoOf(error) === undefined) throw error;
    }
  }
  return removed;
}

/**
 * Removes a temporary directory of an owner that is believed dead, by one rename and then file by file: should it live after
 * all, it publishes nothing that is half gone. Throws system errors.
 */
export async function removeStale(path: string): Promise<void> {
  const aside = path.replace(/[0-9a-f]{8}\.tmp$/, `${randomBytes(4).toString('hex')}.tmp`);
  await rename(path, aside);
  await removeTree(aside);
}

/** Returns a fresh name for a temporary directory: `.NAME.forkpoint-OWNER-RANDOM.tmp`. The owner is the id of a run, or what ownOwner returns. */
export function temporaryName(name: string, owner: string): string {
  // NAME_MAX is 255 bytes; the rest of the name takes at most 75.
  const short = Buffer.byteLength(name) <= 180 ? name : 'image';
  return `.${short}.forkpoint-${owner}-${randomBytes(4).toString('hex')}.tmp`;
}

/** Returns the owner in the name of a temporary directory, or undefined for other names. */
export function ownerOf(name: string): string | undefined {
  return /^\..+\.forkpoint-([0-9a-f]{12}|p\d+-\d+-\d+)-[0-9a-f]{8}\.tmp$/.exec(name)?.[1];
}

async function realPlace(path: string): Promise<string> {
  try {
    return (await lstat(path)).isSymbolicLink() ? await realpath(path) : path;
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
    const isDangling = await lstat(path).then(
      () => true,
      () => false,
    );
    if (isDangling)
      throw new StoreError(
        'ERR_FORKPOINT_DESTINATION',
        `the destination ${path} is a symbolic link to nothing`,
      );
    return path;
  }
}

async function removeCreated(created: readonly string[]): Promise<void> {
  for (const directory of created.toReversed()) {
    try {
      await rmdir(directory);
    } catch {
      // Somebody has put something there meanwhile, so that it is no longer ours to remove.
      return;
    }
  }
}

function foreign(path: string): StoreError {
  return new StoreError('ERR_FORKPOINT_DESTINATION', `${path} exists and is not an image`, {
    hint: 'Give a new directory, an empty one, or an image to replace',
  });
}
