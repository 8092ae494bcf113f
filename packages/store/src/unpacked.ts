import { mkdir, readdir, rename, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { storedName, unpackedKey } from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import { unpackLayers } from './compress.ts';
import type { CompressOptions } from './compress.ts';
import { digestOf } from './digests.ts';
import { makeMissing } from './directories.ts';
import { errnoOf, worded } from './error.ts';
import { MANIFEST_FILE, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { linkOrCopy } from './link-or-copy.ts';
import { ownOwner } from './owner.ts';
import type { Places } from './places.ts';
import { temporaryName } from './publish.ts';
import { linkRest } from './rewrite-image.ts';

/**
 * Returns the directory in which the files of an image lie as CRIU reads them: the image itself, or, of a compressed one, a
 * directory in the cache, which is made when it is not there. All restores share it, and `gc` may take it away. Two processes
 * that make it at once both succeed, and one of the two stays. Throws the errors of readManifest and of the codec, and
 * nothing is left behind.
 */
export async function unpackedDirectory(
  image: string,
  places: Places,
  options: Pick<CompressOptions, 'addon' | 'signal' | 'onBytes'>,
): Promise<string> {
  const manifest = await readManifest(image);
  const key = unpackedKey(manifest);
  if (key === null) return image;
  const parent = join(places.cache, 'unpacked');
  const directory = join(parent, key);
  if (await isDirectory(directory)) return directory;
  const temporary = join(parent, temporaryName(key, await ownOwner()));
  try {
    await makeMissing(parent, [], 0o700);
    await mkdir(temporary, { mode: 0o700 });
    await linkRest(image, temporary, new Set(manifest.layers.map(storedName)));
    // The launcher reads these from where it reads the rest.
    for (const name of [MANIFEST_FILE, RESTORE_PLAN_FILE])
      await linkOrCopy(join(image, name), join(temporary, name));
    await unpackLayers(image, temporary, manifest, {
      ...options,
      known: async (layer) => await knownLayer(parent, layer),
    });
    await rename(temporary, directory);
  } catch (error) {
    await rm(temporary, { recursive: true, force: true });
    // Somebody else was quicker.
    if (errnoOf(error) !== 'ENOTEMPTY' && errnoOf(error) !== 'EEXIST')
      throw worded(error, 'ERR_FORKPOINT_REWRITE', `${image} cannot be unpacked`);
  }
  return directory;
}

/** Layers have names of their own among all images: one that another image has too may lie unpacked already. */
async function knownLayer(
  parent: string,
  { file, size, sha256 }: Manifest['layers'][number],
): Promise<string | undefined> {
  if (!file.startsWith('layers/')) return undefined;
  for (const key of await readdir(parent)) {
    if (key.startsWith('.')) continue;
    const path = join(parent, key, file);
    const facts = await stat(path).catch(() => undefined);
    if (facts?.isFile() !== true || facts.size !== size) continue;
    if ((await digestOf(path)).sha256 === sha256) return path;
  }
  return undefined;
}

async function isDirectory(path: string): Promise<boolean> {
  return (await stat(path).catch(() => undefined))?.isDirectory() === true;
}
