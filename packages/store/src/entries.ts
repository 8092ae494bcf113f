import { statSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { lstat, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import type { Manifest } from '@forkpoint/manifest';
import { errnoOf, reasonOf, StoreError } from './error.ts';
import { readManifest, stateOfPlace, tornReason } from './images.ts';

/** A file of an image, as the disk has it. `key` is the same for all names of one file. */
export interface StoredFile {
  /** Name in the image directory. */
  readonly name: string;
  /** `DEVICE:INODE`. */
  readonly key: string;
  /** Bytes on the disk. */
  readonly bytes: number;
}

/** What the listings know of an image: enough for `ls`, `tree`, `du`, `gc` and the choice by label. */
export interface ImageEntry {
  /** Name of the directory. */
  readonly name: string;
  readonly path: string;
  readonly id: string;
  readonly parentId: string | null;
  readonly generation: number;
  /** ISO 8601, UTC. */
  readonly createdAt: string;
  readonly command: readonly string[];
  /** Name and version of the language runtime. */
  readonly runtime: string | null;
  readonly labels: Readonly<Record<string, string>>;
  readonly origin: { readonly run: string; readonly name: string };
  readonly compression: 'zstd' | 'lz4' | null;
  readonly formatVersion: number;
  /** The files that may have other names elsewhere: page files, and others that are large. */
  readonly files: readonly StoredFile[];
  /** Bytes on the disk of all others. */
  readonly restBytes: number;
}

/** A directory that looks like an image and cannot be read as one. */
export interface Damaged {
  readonly name: string;
  readonly path: string;
  readonly reason: string;
}

/** What lies in a directory of images. */
export interface Listing {
  /** Oldest first. */
  readonly images: readonly ImageEntry[];
  readonly damaged: readonly Damaged[];
}

/** Images that are read at the same time. */
const WIDTH = 16;
/** Smaller files are not worth an own line in the index. */
const LARGE_BYTES = 65_536;

/** Returns the entry of one image. Throws the errors of readManifest, and system errors. */
export async function readEntry(path: string): Promise<ImageEntry> {
  return entryOf(path, await readManifest(path), await filesOf(path));
}

function entryOf(path: string, manifest: Manifest, all: readonly StoredFile[]): ImageEntry {
  const { runtime } = manifest;
  const files = all.filter(({ name, bytes }) => name.startsWith('layers/') || bytes >= LARGE_BYTES);
  return {
    name: path.slice(path.lastIndexOf('/') + 1),
    path,
    id: manifest.id,
    parentId: manifest.parentId,
    generation: manifest.generation,
    createdAt: manifest.createdAt,
    command: manifest.command,
    runtime: runtime === null ? null : [runtime.name, runtime.version].filter(Boolean).join(' '),
    labels: manifest.labels,
    origin: manifest.origin,
    compression: manifest.layers.find(({ compression }) => compression !== null)?.compression ?? null,
    formatVersion: manifest.formatVersion,
    files,
    restBytes:
      all.reduce((sum, { bytes }) => sum + bytes, 0) - files.reduce((sum, { bytes }) => sum + bytes, 0),
  };
}

/**
 * Returns the files of an image: those in its directory and in its `layers`. Symbolic links are listed and never followed,
 * also when `layers` is one. Throws system errors.
 */
export async function filesOf(path: string): Promise<StoredFile[]> {
  const found: StoredFile[] = [];
  const names = (await readdir(path)).sort();
  for (const name of names) {
    const facts = await lstat(join(path, name));
    if (!facts.isDirectory()) found.push(storedFile(name, facts));
    else if (name === 'layers') {
      for (const layer of (await readdir(join(path, name))).sort())
        found.push(storedFile(`layers/${layer}`, await lstat(join(path, name, layer))));
    }
  }
  return found;
}

function storedFile(name: string, { dev, ino, blocks }: Stats): StoredFile {
  return { name, key: `${dev}:${ino}`, bytes: blocks * 512 };
}

/** What an index of a directory of images remembers, by the name of the directory. */
export type Remembered = ReadonlyMap<string, { readonly stamp: string; readonly entry: ImageEntry }>;

/**
 * Lists the images in a directory. What `remembered` has with the same stamp is not read again. Damaged images are
 * listed as such and never stop the others. Throws ERR_FORKPOINT_IMAGE_NOT_FOUND when the directory cannot be listed.
 */
export async function listDirectory(
  directory: string,
  remembered: Remembered = new Map(),
): Promise<Listing & { readonly stamps: ReadonlyMap<string, string>; readonly readCount: number }> {
  const names = await namesIn(directory);
  const images: ImageEntry[] = [];
  const damaged: Damaged[] = [];
  const stamps = new Map<string, string>();
  let readCount = 0;
  const lookAtTorn = async (name: string, path: string): Promise<void> => {
    const reason = await tornReason(path).catch(() => undefined);
    if (reason !== undefined) damaged.push({ name, path, reason });
  };
  const look = async (name: string): Promise<void> => {
    const path = `${directory}/${name}`;
    const stamp = stampOf(path);
    if (stamp === undefined) return await lookAtTorn(name, path);
    const known = remembered.get(name);
    if (known?.stamp === stamp) {
      stamps.set(name, stamp);
      images.push(known.entry);
      return;
    }
    try {
      if ((await stateOfPlace(path)) !== 'image') return await lookAtTorn(name, path);
      readCount++;
      images.push(await readEntry(path));
      stamps.set(name, stamp);
    } catch (error) {
      // An image may be replaced or removed while others are read.
      if (errnoOf(error) !== 'ENOENT') damaged.push({ name, path, reason: reasonOf(error) });
    }
  };
  for (let at = 0; at < names.length; at += WIDTH) await Promise.all(names.slice(at, at + WIDTH).map(look));
  images.sort((a, b) => inOrder(a.createdAt, b.createdAt) || inOrder(a.name, b.name));
  damaged.sort((a, b) => a.name.localeCompare(b.name));
  return { images, damaged, stamps, readCount };
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    // Half-made directories begin with a dot.
    return (await readdir(directory)).filter((name) => !name.startsWith('.'));
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return [];
    throw new StoreError(
      'ERR_FORKPOINT_IMAGE_NOT_FOUND',
      `the images in ${directory} cannot be listed: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

/**
 * What changes whenever an image at a path does: nothing in an image changes in place, files of it only appear or are
 * replaced by rename, which changes the times of its directory. Undefined for what is no directory.
 */
function stampOf(path: string): string | undefined {
  try {
    // Synchronous: a thousand of these through the thread pool take ten times as long.
    const facts = statSync(path);
    return facts.isDirectory() ? `${facts.dev} ${facts.ino} ${facts.mtimeMs} ${facts.ctimeMs}` : undefined;
  } catch {
    // It has just gone, or nobody may look at it.
    return undefined;
  }
}

/** By code units: a thousand comparisons by language take longer than all the rest of sorting. */
function inOrder(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
