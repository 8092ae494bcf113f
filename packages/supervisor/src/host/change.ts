import {
  compressImage,
  decompressImage,
  flatten as flattenImage,
  launcherExchange,
  readManifest,
  upgradeImage,
} from '@forkpoint/store';
import type { Compressed, CompressOptions } from '@forkpoint/store';
import { checkPattern } from '@forkpoint/manifest';
import { meterFor } from './meter.ts';
import type { Meter } from './meter.ts';
import { codecOf, launcherOf, memoryOf, pathOf, placesFor } from './places.ts';
import type { ChangeOptions, CompressResult, FlattenOptions, FlattenResult, Progress } from './types.ts';

/**
 * Compresses the memory of an image with zstd. The image is replaced at once and as a whole; whatever fails, it stays as it
 * was. Rejects with ERR_FORKPOINT_IMAGE_NOT_FOUND, ERR_FORKPOINT_REWRITE, ERR_FORKPOINT_CODEC, ERR_FORKPOINT_DIGEST for a
 * damaged image, ERR_FORKPOINT_SETUP.
 */
export async function compress(image: string, options: ChangeOptions = {}): Promise<CompressResult> {
  return await rewritten(image, options, 'compress', compressImage);
}

/** Makes a compressed image plain again. Otherwise as `compress`. */
export async function decompress(image: string, options: ChangeOptions = {}): Promise<CompressResult> {
  return await rewritten(image, options, 'decompress', decompressImage);
}

/** Writes an image of an earlier format in the present one; resolves to whether it was of an earlier one. Otherwise as `compress`. */
export async function upgrade(
  image: string,
  options: ChangeOptions = {},
): Promise<{ image: string; isChanged: boolean }> {
  const path = pathOf(image, options);
  const meter = meterFor(options, 'copy', 0);
  return { image: path, isChanged: await upgradeImage(path, await rewriteOptions(options, meter)) };
}

/**
 * Puts the memory of an image on one page file per process, so that a restore makes few mappings and copies little; in the
 * place of the old one, or at `to`. Whatever fails, the image stays as it was. Rejects with ERR_FORKPOINT_IMAGE_NOT_FOUND,
 * ERR_FORKPOINT_FLATTEN, ERR_FORKPOINT_IMAGE_CHANGED, ERR_FORKPOINT_DIGEST for a damaged image, ERR_FORKPOINT_SETUP.
 */
export async function flatten(image: string, options: FlattenOptions = {}): Promise<FlattenResult> {
  const path = pathOf(image, options);
  if (options.to !== undefined) checkPattern(options.to);
  const to = options.to === undefined ? undefined : pathOf(options.to, options);
  const places = placesFor(options);
  const exchange = launcherExchange(await launcherOf(places));
  let current: { step: Progress['step']; meter: Meter; done: number } | undefined;
  const flat = await flattenImage(path, {
    exchange,
    sync: options.sync !== false,
    ...(options.signal === undefined ? {} : { signal: options.signal }),
    ...(to === undefined ? {} : { to }),
    digests: { memory: memoryOf(places) },
    runs: places.runs,
    onProgress: ({ step, done, total }) => {
      if (current?.step !== step) {
        current?.meter.end();
        current = { step, meter: meterFor(options, step, total), done: 0 };
      }
      if (step === 'publish') return;
      current.meter.onBytes(done - current.done);
      current.done = done;
    },
  });
  current?.meter.end();
  const { manifest, before, after, bytes } = flat;
  return { image: flat.image, manifest, before, after, bytes };
}

async function rewritten(
  image: string,
  options: ChangeOptions,
  step: 'compress' | 'decompress',
  work: (path: string, options: CompressOptions) => Promise<Compressed>,
): Promise<CompressResult> {
  const path = pathOf(image, options);
  const { layers } = await readManifest(path);
  const meter = meterFor(
    options,
    step,
    layers.reduce((sum, { size }) => sum + size, 0),
  );
  const done = await work(path, await rewriteOptions(options, meter));
  meter.end();
  return done;
}

async function rewriteOptions(options: ChangeOptions, meter: Meter): Promise<CompressOptions> {
  const places = placesFor(options);
  return {
    exchange: launcherExchange(await launcherOf(places)),
    addon: codecOf(places),
    memory: memoryOf(places),
    sync: options.sync !== false,
    ...meter,
  };
}
