import { link, lstat, rename, rm } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { readDigests } from './digests.ts';
import type { ImageEntry } from './entries.ts';
import { errnoOf } from './error.ts';
import { ownOwner } from './owner.ts';
import { openRegular } from './read-file.ts';
import { temporaryName } from './publish.ts';

/** A file of an image of which another image has an equal one, as a file of its own. */
export interface Duplicate {
  readonly path: string;
  /** The equal file that both may have. */
  readonly original: string;
  /** Bytes on the disk that go when this one and those before it in the list have gone; 0 while other names hold them. */
  readonly bytes: number;
}

/** One file on the disk with its names. */
interface Held {
  readonly bytes: number;
  readonly names: string[];
}

const BLOCK = 1 << 20;

/**
 * Returns the large files of images (page files, packed or not, and contents of deleted files) that other images hold as well,
 * told by the digests that were taken with the images. Images without digests are left out. The oldest file is the original.
 */
export async function findDuplicates(images: readonly ImageEntry[]): Promise<Duplicate[]> {
  const byDigest = new Map<string, Map<string, Held>>();
  for (const image of images) {
    const digests = await readDigests(image.path).catch(() => null);
    for (const { name, key, bytes } of digests === null ? [] : image.files) {
      const digest = digests?.files[name];
      if (digest === undefined || !/^(layers\/|pages-|ghost-file-)/.test(name)) continue;
      const id = `${digest.sha256} ${digest.size}`;
      const equals = byDigest.get(id) ?? new Map<string, Held>();
      byDigest.set(id, equals);
      const held = equals.get(key) ?? { bytes, names: [] };
      equals.set(key, held);
      held.names.push(join(image.path, name));
    }
  }
  return [...byDigest.values()].flatMap((equals) => duplicatesAmong([...equals.values()]));
}

function duplicatesAmong([first, ...others]: readonly Held[]): Duplicate[] {
  const original = first?.names[0];
  if (original === undefined) return [];
  return others.flatMap(({ names, bytes }) =>
    names.map((path, index) => ({ path, original, bytes: index === names.length - 1 ? bytes : 0 })),
  );
}

/**
 * Puts a name of the original in the place of a duplicate, by one rename, after it has compared all of their bytes. Returns
 * false, with nothing changed, when they are not equal after all, belong to different people, or cannot have one file.
 * Throws system errors, and the reason of the signal.
 */
export async function shareDuplicate({ path, original }: Duplicate, signal?: AbortSignal): Promise<boolean> {
  // Beside the image: what lies in an image belongs to it.
  const image = dirname(path).replace(/\/layers$/, '');
  const draft = join(dirname(image), temporaryName('shared', await ownOwner()));
  try {
    if (!(await isAlike(path, original, signal))) return false;
    await link(original, draft);
    await rename(draft, path);
    return true;
  } catch (error) {
    await rm(draft, { force: true });
    if (['EXDEV', 'EPERM', 'EMLINK', 'ENOENT'].includes(errnoOf(error) ?? '')) return false;
    throw error;
  }
}

/** Whether two files have the same bytes, owner and permissions. */
async function isAlike(path: string, original: string, signal?: AbortSignal): Promise<boolean> {
  const [one, other] = [await lstat(path), await lstat(original)];
  if (one.ino === other.ino || one.dev !== other.dev || one.size !== other.size) return false;
  if (one.uid !== other.uid || one.gid !== other.gid || one.mode !== other.mode) return false;
  const files = [await openRegular(path)];
  try {
    files.push(await openRegular(original));
    for (let at = 0; at < one.size; at += BLOCK) {
      signal?.throwIfAborted();
      const [a, b] = await Promise.all(files.map(async (file) => await blockOf(file, at)));
      if (a === undefined || b === undefined || !a.equals(b)) return false;
    }
    return true;
  } finally {
    for (const file of files) await file.close();
  }
}

async function blockOf(file: FileHandle, at: number): Promise<Buffer> {
  const block = Buffer.allocUnsafe(BLOCK);
  let done = 0;
  while (done < BLOCK) {
    const { bytesRead } = await file.read(block, done, BLOCK - done, at + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return block.subarray(0, done);
}
