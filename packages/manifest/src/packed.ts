import { createHash } from 'node:crypto';
import type { Manifest, ManifestLayer } from './manifest.ts';
import type { RestorePlan } from './restore-plan.ts';

/** What is known of a layer once it is packed. */
export interface PackedLayer {
  readonly storedSize: number;
  readonly sha256: string;
}

/** Returns the name under which a layer is stored in its image: `.zst` behind it when it is compressed. */
export function storedName({ file, compression }: Pick<ManifestLayer, 'file' | 'compression'>): string {
  return compression === null ? file : `${file}.zst`;
}

/** Returns the manifest of an image whose layers were packed. Throws a RangeError when one of them is missing in `packed`. */
export function packManifest(manifest: Manifest, packed: ReadonlyMap<string, PackedLayer>): Manifest {
  const layers = manifest.layers.map((layer): ManifestLayer => {
    const found = packed.get(layer.file);
    if (found === undefined) throw new RangeError(`the layer ${layer.file} was not packed`);
    return { ...layer, compression: 'zstd', ...found };
  });
  return { ...manifest, formatVersion: 2, layers };
}

/** Returns the manifest of an image whose layers were unpacked; their digests stay. */
export function unpackManifest(manifest: Manifest): Manifest {
  const layers = manifest.layers.map((layer): ManifestLayer => ({
    ...layer,
    compression: null,
    storedSize: layer.size,
  }));
  return { ...manifest, formatVersion: 2, layers };
}

/**
 * Returns the name of the directory in the cache in which an image lies unpacked, or null when none of its layers is
 * compressed. It names the content: another image, or the same with other layers, has another one.
 */
export function unpackedKey(manifest: Manifest): string | null {
  if (manifest.layers.every(({ compression }) => compression === null)) return null;
  const hash = createHash('sha256');
  for (const { file, sha256 } of manifest.layers) hash.update(`${file} ${sha256 ?? '-'}\n`);
  return `${manifest.id}-${hash.digest('hex').slice(0, 16)}`;
}

/** Returns the plan of an image that was packed or unpacked: it says where the launcher finds it unpacked. */
export function packPlan(plan: RestorePlan, manifest: Manifest): RestorePlan {
  return { ...plan, unpacked: unpackedKey(manifest) };
}
