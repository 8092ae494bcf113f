import type { ImageEntry } from './entries.ts';

/** An image with those that were taken from runs of it. */
export interface LineageNode {
  readonly image: ImageEntry;
  readonly children: readonly LineageNode[];
}

/** Bytes of an image on the disk. */
export interface Usage {
  /** Freed when this image is removed. */
  readonly ownBytes: number;
  /** In files that other images, or running programs, have as well. */
  readonly sharedBytes: number;
}

/** Who uses the bytes of a store. */
export interface StoreUsage {
  readonly byPath: ReadonlyMap<string, Usage>;
  /** Of all images, each file once. */
  readonly totalBytes: number;
  /** In page files that no image has any more, only running programs. */
  readonly runningOnlyBytes: number;
}

/**
 * Returns the images as trees by parent, oldest first. An image whose parent is not among them is a root: images are
 * complete, and lose nothing with their parents. Pure.
 */
export function lineageOf(images: readonly ImageEntry[]): LineageNode[] {
  const byId = new Map(images.map((image) => [image.id, image]));
  const children = new Map<string, ImageEntry[]>();
  const roots: ImageEntry[] = [];
  for (const image of images) {
    const parent = image.parentId === null ? undefined : byId.get(image.parentId);
    if (parent === undefined || isBelow(parent, image, byId)) roots.push(image);
    else children.set(parent.id, [...(children.get(parent.id) ?? []), image]);
  }
  // A copy of an image has its id: the descendants stand below the newest of them only.
  const node = (image: ImageEntry): LineageNode => ({
    image,
    children: byId.get(image.id) === image ? (children.get(image.id) ?? []).map(node) : [],
  });
  return roots.map(node);
}

/** A manifest that somebody has changed may name a descendant as its parent: whoever meets itself on the way up is a root. */
function isBelow(image: ImageEntry, ancestor: ImageEntry, byId: ReadonlyMap<string, ImageEntry>): boolean {
  const seen = new Set<string>();
  for (let at: ImageEntry | undefined = image; at !== undefined && !seen.has(at.id);) {
    if (at.id === ancestor.id) return true;
    seen.add(at.id);
    at = at.parentId === null ? undefined : byId.get(at.parentId);
  }
  return false;
}

/** Returns who uses the bytes of images; `running` are the page files that living runs hold, bytes by key. Pure. */
export function usageOf(images: readonly ImageEntry[], running: ReadonlyMap<string, number>): StoreUsage {
  const holders = new Map<string, Set<string>>();
  const bytes = new Map<string, number>();
  for (const image of images) {
    for (const file of image.files) {
      const known = holders.get(file.key);
      if (known === undefined) holders.set(file.key, new Set([image.path]));
      else known.add(image.path);
      bytes.set(file.key, file.bytes);
    }
  }
  const byPath = new Map<string, Usage>();
  for (const image of images) {
    let [ownBytes, sharedBytes] = [image.restBytes, 0];
    for (const [key, size] of filesByKey(image)) {
      if ((holders.get(key)?.size ?? 0) > 1 || running.has(key)) sharedBytes += size;
      else ownBytes += size;
    }
    byPath.set(image.path, { ownBytes, sharedBytes });
  }
  let [totalBytes, runningOnlyBytes] = [images.reduce((sum, { restBytes }) => sum + restBytes, 0), 0];
  for (const size of bytes.values()) totalBytes += size;
  for (const [key, size] of running) if (!bytes.has(key)) runningOnlyBytes += size;
  return { byPath, totalBytes, runningOnlyBytes };
}

/** Counts the bytes of images while they are removed one after the other. */
export class ByteCount {
  #totalBytes = 0;
  readonly #holders = new Map<string, number>();

  constructor(images: readonly ImageEntry[]) {
    for (const image of images) {
      this.#totalBytes += image.restBytes;
      for (const [key, bytes] of filesByKey(image)) {
        const count = this.#holders.get(key) ?? 0;
        if (count === 0) this.#totalBytes += bytes;
        this.#holders.set(key, count + 1);
      }
    }
  }

  /** Bytes of the images that are left, each file once. */
  get totalBytes(): number {
    return this.#totalBytes;
  }

  /** Takes an image out and returns how many bytes that frees. */
  remove(image: ImageEntry): number {
    const before = this.#totalBytes;
    this.#totalBytes -= image.restBytes;
    for (const [key, bytes] of filesByKey(image)) {
      const count = (this.#holders.get(key) ?? 1) - 1;
      if (count === 0) this.#totalBytes -= bytes;
      this.#holders.set(key, count);
    }
    return before - this.#totalBytes;
  }
}

function filesByKey(image: ImageEntry): ReadonlyMap<string, number> {
  return new Map(image.files.map(({ key, bytes }) => [key, bytes]));
}

/** Returns whether an image has every one of the labels. */
export function hasLabels(
  image: Pick<ImageEntry, 'labels'>,
  wanted: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(wanted).every(
    ([name, value]) => Object.hasOwn(image.labels, name) && image.labels[name] === value,
  );
}
