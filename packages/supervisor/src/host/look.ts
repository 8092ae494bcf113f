import { diffImages, readContents, readManifest } from '@forkpoint/store';
import { meterFor } from './meter.ts';
import type { Meter } from './meter.ts';
import { pathOf } from './places.ts';
import type { Comparison, Inspection, WorkOptions } from './types.ts';
import { unpack } from './unpack.ts';

/** Returns what an image consists of. Rejects with ERR_FORKPOINT_IMAGE_NOT_FOUND and ERR_FORKPOINT_IMAGE_INVALID. */
export async function inspect(image: string, options: WorkOptions = {}): Promise<Inspection> {
  const path = pathOf(image, options);
  const manifest = await readManifest(path);
  const raw = await unpack(path, options);
  options.signal?.throwIfAborted();
  return { path, manifest, ...(await readContents(raw, manifest.processes[0]?.pid ?? 0)) };
}

/** Compares two images; what only `b` has counts as added. Rejects with what `inspect` rejects with, for either. */
export async function diff(a: string, b: string, options: WorkOptions = {}): Promise<Comparison> {
  const [one, other] = [pathOf(a, options), pathOf(b, options)];
  const [rawOfOne, rawOfOther] = [await unpack(one, options), await unpack(other, options)];
  let meter: Meter | undefined;
  const found = await diffImages(one, other, {
    signal: options.signal,
    rawOf: (image) => (image === one ? rawOfOne : rawOfOther),
    onTotal: (bytes) => (meter = meterFor(options, 'compare', bytes)),
    onBytes: (bytes) => meter?.onBytes(bytes),
  });
  meter?.end();
  return found;
}
