import { rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import {
  decodeRestorePlan,
  encodeRestorePlan,
  packPlan,
  serializeManifest,
  storedName,
} from '@forkpoint/manifest';
import type { Manifest, ManifestLayer } from '@forkpoint/manifest';
import { carryDigests, digestsToCarry } from './carry-digests.ts';
import { openCodecPool } from './codec-pool.ts';
import { DESCRIPTION, digestsOnly } from './compress.ts';
import type { CompressOptions } from './compress.ts';
import { digestOf, readDigests } from './digests.ts';
import type { Digests } from './digests.ts';
import { MANIFEST_FILE, PLAN_MAX, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { readRegular } from './read-file.ts';
import { linkOrCopy } from './link-or-copy.ts';
import { packFile } from './packing.ts';
import { linkRest, rewriteImage } from './rewrite-image.ts';
import { CHUNK_BYTES } from './seek-table.ts';
import type { Problem } from './verify.ts';

/** A good copy of a damaged layer. */
interface Copy {
  readonly layer: ManifestLayer;
  readonly path: string;
  /** Whether the copy is stored in the way of the image, or plain while the image is compressed. */
  readonly isAsStored: boolean;
}

/** What a repair came to. */
export interface Repaired {
  /** Names of layers that are whole again, and the images or directories that their copies came from. */
  readonly repaired: readonly { readonly file: string; readonly from: string }[];
}

/**
 * Replaces damaged layers of an image by good copies from `directories`: other images, and images that lie unpacked in the
 * cache. A copy counts as good when its SHA-256 is the one that the damaged layer had. The image is replaced at once; what
 * has no good copy stays as it is. Throws what rewriteImage throws.
 */
export async function repairImage(
  image: string,
  problems: readonly Problem[],
  options: CompressOptions & { readonly directories: readonly string[] },
): Promise<Repaired> {
  const manifest = await readManifest(image);
  const digests = await readDigests(image);
  const bad = new Set(problems.map(({ file }) => file));
  const copies: Copy[] = [];
  for (const layer of manifest.layers.filter((one) => bad.has(storedName(one)))) {
    const copy = await findCopy(layer, digests, options);
    if (copy !== undefined) copies.push(copy);
  }
  if (copies.length === 0) return { repaired: [] };
  await rewriteImage(image, options, async (directory) => {
    await linkRest(image, directory, new Set(copies.map(({ layer }) => storedName(layer))));
    const layers = await putCopies(directory, manifest, copies, options);
    await describe(image, directory, { ...manifest, layers });
    // What was not repaired keeps its digest, so that it is found again. Where there were none, only a whole image gets some.
    const made = [
      ...DESCRIPTION.filter((name) => !bad.has(name)),
      ...copies.map(({ layer }) => storedName(layer)),
    ];
    if (digests !== null || copies.length === bad.size)
      await carryDigests(directory, digests, { made }, digestsOnly(options));
  });
  return { repaired: copies.map(({ layer, path }) => ({ file: storedName(layer), from: path })) };
}

async function findCopy(
  layer: ManifestLayer,
  digests: Digests | null,
  {
    directories,
    signal,
  }: { readonly directories: readonly string[]; readonly signal?: AbortSignal | undefined },
): Promise<Copy | undefined> {
  const stored = digests?.files[storedName(layer)]?.sha256 ?? null;
  const raw = layer.sha256 ?? (layer.compression === null ? stored : null);
  for (const directory of directories) {
    for (const [name, size, wanted, isAsStored] of [
      [storedName(layer), layer.storedSize, stored ?? raw, true],
      [layer.file, layer.size, raw, layer.compression === null],
    ] as const) {
      const path = join(directory, name);
      const facts = await stat(path).catch(() => undefined);
      if (wanted === null || facts?.isFile() !== true || facts.size !== size) continue;
      if ((await digestOf(path, { signal })).sha256 === wanted) return { layer, path, isAsStored };
    }
  }
  return undefined;
}

async function putCopies(
  directory: string,
  manifest: Manifest,
  copies: readonly Copy[],
  options: CompressOptions,
): Promise<ManifestLayer[]> {
  const changed = new Map<string, ManifestLayer>();
  for (const { layer, path, isAsStored } of copies) {
    const target = join(directory, storedName(layer));
    if (isAsStored) {
      await linkOrCopy(path, target);
      continue;
    }
    const pool = openCodecPool(options.addon, Math.ceil(layer.size / CHUNK_BYTES));
    const { packedSize } = await packFile(path, target, pool, options);
    changed.set(layer.file, { ...layer, storedSize: packedSize });
  }
  return manifest.layers.map((layer) => changed.get(layer.file) ?? layer);
}

async function describe(image: string, directory: string, manifest: Manifest): Promise<void> {
  const plan = decodeRestorePlan(await readRegular(join(image, RESTORE_PLAN_FILE), PLAN_MAX));
  for (const name of DESCRIPTION) await rm(join(directory, name), { force: true });
  await writeFile(join(directory, MANIFEST_FILE), serializeManifest(manifest), { mode: 0o600 });
  await writeFile(join(directory, RESTORE_PLAN_FILE), encodeRestorePlan(packPlan(plan, manifest)), {
    mode: 0o600,
  });
}

/** Writes an image of an earlier format anew in the present one. Returns whether it was of an earlier one. Throws what rewriteImage throws. */
export async function upgradeImage(image: string, options: CompressOptions): Promise<boolean> {
  const manifest = await readManifest(image);
  if (manifest.formatVersion !== 1) return false;
  const digests = await digestsToCarry(image, options);
  await rewriteImage(image, options, async (directory) => {
    await linkRest(image, directory, new Set());
    await describe(image, directory, { ...manifest, formatVersion: 2 });
    await carryDigests(directory, digests, { made: DESCRIPTION }, digestsOnly(options));
  });
  return true;
}
