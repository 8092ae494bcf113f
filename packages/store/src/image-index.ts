import { randomBytes } from 'node:crypto';
import { mkdir, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { dictionary, integer, list, nullable, object, oneOf, text } from '@forkpoint/manifest';
import { listDirectory } from './entries.ts';
import type { ImageEntry, Listing, Remembered } from './entries.ts';
import { errnoOf } from './error.ts';
import type { Places } from './places.ts';

const FILE = 'images.json';
const VERSION = 1;
const MAX_BYTES = 64 << 20;
/** More images than an index of the largest size can hold. */
const MAX_IMAGES = 100_000;

const words = list(text(131_072), 65_536);
const entry = object({
  name: text(255),
  path: text(4096),
  id: text(64),
  parentId: nullable(text(64)),
  generation: integer(0),
  createdAt: text(32),
  command: words,
  runtime: nullable(text(600)),
  labels: dictionary(text(65_536), 1024, /^[^\s=\0]{1,256}$/),
  origin: object({ run: text(64), name: text(255) }),
  compression: nullable(oneOf('zstd', 'lz4')),
  formatVersion: integer(1),
  files: list(object({ name: text(512), key: text(64), bytes: integer(0) }), 65_536),
  restBytes: integer(0),
});
const index = object({
  version: oneOf(VERSION),
  directory: text(4096),
  images: list(object({ stamp: text(256), entry }), MAX_IMAGES),
});

/**
 * Lists the images of the store. What was read once is remembered in `cache/images.json`, so that a listing of a thousand
 * images opens one file; an index that is lost, damaged or cannot be written costs time and nothing else.
 */
export async function listStore(places: Places): Promise<Listing & { readonly readCount: number }> {
  const directory = places.images;
  const file = join(places.cache, FILE);
  const remembered = await readIndex(file, directory);
  const found = await listDirectory(directory, remembered);
  if (found.readCount > 0 || found.images.length !== remembered.size) {
    await writeIndex(file, directory, found.images, found.stamps);
  }
  return found;
}

async function readIndex(file: string, directory: string): Promise<Remembered> {
  try {
    if ((await stat(file)).size > MAX_BYTES) return new Map();
    const value = index(JSON.parse(await readFile(file, 'utf8')), '');
    if (value.directory !== directory) return new Map();
    return new Map(value.images.map((item) => [item.entry.name, item]));
  } catch {
    // Without an index everything is read.
    return new Map();
  }
}

async function writeIndex(
  file: string,
  directory: string,
  images: readonly ImageEntry[],
  stamps: ReadonlyMap<string, string>,
): Promise<void> {
  const value = {
    version: VERSION,
    directory,
    images: images.map((one) => ({ stamp: stamps.get(one.name) ?? '', entry: one })),
  };
  const draft = `${file}.${randomBytes(6).toString('hex')}.new`;
  try {
    // A store that nothing was run in yet has no cache; one that is not there at all stays so.
    await mkdir(dirname(file), { mode: 0o700 }).catch(existsIsFine);
    await writeFile(draft, JSON.stringify(value), { mode: 0o600 });
    await rename(draft, file);
  } catch {
    // A full disk, or somebody else's store: the next listing reads everything again.
    await rm(draft, { force: true }).catch(() => undefined);
  }
}

function existsIsFine(error: unknown): void {
  if (errnoOf(error) !== 'EEXIST') throw error;
}
