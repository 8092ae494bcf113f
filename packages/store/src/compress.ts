import { mkdir, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeRestorePlan,
  encodeRestorePlan,
  packManifest,
  packPlan,
  serializeManifest,
  storedName,
  unpackManifest,
} from '@forkpoint/manifest';
import type { Manifest, PackedLayer, RestorePlan } from '@forkpoint/manifest';
import { carryDigests, damaged, digestsToCarry } from './carry-digests.ts';
import { openCodecPool } from './codec-pool.ts';
import type { DigestOptions, Digests } from './digests.ts';
import { StoreError } from './error.ts';
import { MANIFEST_FILE, PLAN_MAX, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { readRegular } from './read-file.ts';
import { linkOrCopy } from './link-or-copy.ts';
import { packFile, unpackFile } from './packing.ts';
import type { Watch } from './packing.ts';
import { linkRest, rewriteImage } from './rewrite-image.ts';
import type { RewriteOptions } from './rewrite-image.ts';
import { CHUNK_BYTES } from './seek-table.ts';

/** What is written anew whenever a layer is. */
export const DESCRIPTION: readonly string[] = [MANIFEST_FILE, RESTORE_PLAN_FILE];

/** How an image is compressed or decompressed. */
export interface CompressOptions extends RewriteOptions, Watch, DigestOptions {
  /** File of the codec's addon. */
  readonly addon: string;
  readonly signal?: AbortSignal | undefined;
}

/** What compressing or decompressing came to. */
export interface Compressed {
  readonly image: string;
  readonly manifest: Manifest;
  /** False when it was so already. */
  readonly isChanged: boolean;
  readonly rawBytes: number;
  readonly storedBytes: number;
}

/**
 * Compresses the layers of an image, each by itself. The image is replaced at once. Throws what rewriteImage and packFile
 * throw, and ERR_FORKPOINT_DIGEST for a layer that is damaged.
 */
export async function compressImage(image: string, options: CompressOptions): Promise<Compressed> {
  const manifest = await readManifest(image);
  if (manifest.layers.every(({ compression }) => compression !== null)) return told(image, manifest, false);
  if (manifest.layers.some(({ compression }) => compression !== null)) throw mixed(image);
  let packed = manifest;
  const digests = await digestsToCarry(image, { signal: options.signal });
  const path = await rewriteImage(image, options, async (directory) => {
    const replaced = manifest.layers.map(({ file }) => file);
    await linkRest(image, directory, new Set(replaced));
    packed = await packLayers(image, directory, manifest, { ...options, digests });
    const made = [...packed.layers.map(storedName), ...DESCRIPTION];
    await carryDigests(directory, digests, { made, replaced }, digestsOnly(options));
  });
  return told(path, packed, true);
}

/** Decompresses the layers of an image. The image is replaced at once. Throws what rewriteImage and unpackFile throw. */
export async function decompressImage(image: string, options: CompressOptions): Promise<Compressed> {
  const manifest = await readManifest(image);
  if (manifest.layers.every(({ compression }) => compression === null)) return told(image, manifest, false);
  const raw = unpackManifest(manifest);
  const digests = await digestsToCarry(image, { signal: options.signal });
  const path = await rewriteImage(image, options, async (directory) => {
    const replaced = manifest.layers.map(storedName);
    await linkRest(image, directory, new Set(replaced));
    await unpackLayers(image, directory, manifest, options);
    await writeDescription(directory, raw, await readPlan(image));
    const made = [...manifest.layers.map(({ file }) => file), ...DESCRIPTION];
    // What came out of a packed layer was compared with this digest on its way.
    const known = Object.fromEntries(
      manifest.layers.flatMap(({ file, size, sha256, compression }) =>
        compression === null || sha256 === null ? [] : [[file, { size, sha256 }]],
      ),
    );
    await carryDigests(directory, digests, { made, replaced, known }, digestsOnly(options));
  });
  return told(path, raw, true);
}

/** Compresses the layers of an image that is not published yet, where it lies. Returns its new manifest. */
export async function compressInPlace(
  directory: string,
  manifest: Manifest,
  options: Pick<CompressOptions, 'addon' | 'signal' | 'onBytes'>,
): Promise<Manifest> {
  const packed = await packLayers(directory, directory, manifest, options);
  for (const { file } of manifest.layers) await rm(join(directory, file));
  return packed;
}

/** Packs the layers of `image` into `directory` and writes manifest and plan there. Throws for content that `digests` do not know. */
async function packLayers(
  image: string,
  directory: string,
  manifest: Manifest,
  options: Pick<CompressOptions, 'addon' | 'signal' | 'onBytes'> & { readonly digests?: Digests | null },
): Promise<Manifest> {
  const packed = new Map<string, PackedLayer>();
  const pool = openCodecPool(options.addon, chunksOf(manifest));
  for (const { file } of manifest.layers) {
    const target = join(directory, storedName({ file, compression: 'zstd' }));
    const { packedSize, sha256 } = await packFile(join(image, file), target, pool, options);
    const known = options.digests?.files[file];
    if (known !== undefined && known.sha256 !== sha256) throw damaged(image, file);
    packed.set(file, { storedSize: packedSize, sha256 });
  }
  const result = packManifest(manifest, packed);
  await writeDescription(directory, result, await readPlan(image));
  return result;
}

/** Unpacks the layers of `image` into `directory`; those that `known` finds elsewhere get a link. Throws what unpackFile throws. */
export async function unpackLayers(
  image: string,
  directory: string,
  manifest: Manifest,
  options: Pick<CompressOptions, 'addon' | 'signal' | 'onBytes'> & {
    readonly known?: (layer: Manifest['layers'][number]) => Promise<string | undefined>;
  },
): Promise<void> {
  const pool = openCodecPool(options.addon, chunksOf(manifest));
  await mkdir(join(directory, 'layers'), { mode: 0o700, recursive: true });
  for (const layer of manifest.layers) {
    const target = join(directory, layer.file);
    const same = await options.known?.(layer);
    if (same !== undefined) await linkOrCopy(same, target);
    else if (layer.compression === null) await linkOrCopy(join(image, layer.file), target);
    else {
      await checkStored(image, layer);
      const from = join(image, storedName(layer));
      await unpackFile(from, target, pool, { ...options, rawSize: layer.size, sha256: layer.sha256 });
    }
  }
}

async function checkStored(image: string, layer: Manifest['layers'][number]): Promise<void> {
  const name = storedName(layer);
  const { size } = await stat(join(image, name));
  if (size === layer.storedSize) return;
  throw new StoreError(
    'ERR_FORKPOINT_IMAGE_INVALID',
    `the image's file ${name} has ${size} bytes instead of ${layer.storedSize}`,
    { hint: `Run \`forkpoint verify --repair ${image}\`` },
  );
}

async function readPlan(image: string): Promise<RestorePlan> {
  return decodeRestorePlan(await readRegular(join(image, RESTORE_PLAN_FILE), PLAN_MAX));
}

async function writeDescription(directory: string, manifest: Manifest, plan: RestorePlan): Promise<void> {
  for (const name of DESCRIPTION) await rm(join(directory, name), { force: true });
  const changed = encodeRestorePlan(packPlan(plan, manifest));
  await writeFile(join(directory, MANIFEST_FILE), serializeManifest(manifest), { mode: 0o600 });
  await writeFile(join(directory, RESTORE_PLAN_FILE), changed, { mode: 0o600 });
}

/** Returns how digests are computed in the course of other work: its progress counts other bytes. */
export function digestsOnly({ memory, signal }: CompressOptions): DigestOptions {
  return { signal, ...(memory === undefined ? {} : { memory }) };
}

function chunksOf({ layers }: Manifest): number {
  return layers.reduce((sum, { size }) => sum + Math.ceil(size / CHUNK_BYTES), 0);
}

function told(image: string, manifest: Manifest, isChanged: boolean): Compressed {
  const rawBytes = manifest.layers.reduce((sum, { size }) => sum + size, 0);
  const storedBytes = manifest.layers.reduce((sum, { storedSize }) => sum + storedSize, 0);
  return { image, manifest, isChanged, rawBytes, storedBytes };
}

function mixed(image: string): StoreError {
  return new StoreError(
    'ERR_FORKPOINT_REWRITE',
    `some layers of ${image} are compressed and others are not`,
    {
      hint: `Run \`forkpoint decompress ${image}\` first`,
    },
  );
}
