import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import {
  bytesToVerify,
  launcherExchange,
  listStore,
  recordDigests,
  repairImage,
  verifyImage,
} from '@forkpoint/store';
import type { Places } from '@forkpoint/store';
import { meterFor } from './meter.ts';
import { codecOf, launcherOf, memoryOf, pathOf, placesFor } from './places.ts';
import type { VerifyOptions, VerifyResult } from './types.ts';

/**
 * Reads everything that an image consists of and compares it with its digests; resolves to what is damaged. With `repair`
 * damaged layers are replaced by good copies from the store's other images, or from running programs. Rejects with ERR_FORKPOINT_IMAGE_NOT_FOUND.
 */
export async function verify(image: string, options: VerifyOptions = {}): Promise<VerifyResult> {
  const path = pathOf(image, options);
  const places = placesFor(options);
  const first = await checked(path, options);
  // Digests that cannot be used are as good as none.
  if (
    options.record === true &&
    !first.hasDigests &&
    first.problems.every(({ kind }) => kind === 'digests')
  ) {
    await recordDigests(path, { signal: options.signal, memory: memoryOf(places) });
    return await checked(path, options);
  }
  if (options.repair !== true || first.problems.length === 0) return first;
  const { repaired } = await repairImage(path, first.problems, {
    exchange: launcherExchange(await launcherOf(places)),
    addon: codecOf(places),
    memory: memoryOf(places),
    signal: options.signal,
    directories: await directoriesOf(places, path),
  });
  return repaired.length === 0 ? first : { ...(await checked(path, options)), repaired };
}

async function checked(path: string, options: VerifyOptions): Promise<VerifyResult> {
  const meter = meterFor(options, 'read', await bytesToVerify(path));
  const found = await verifyImage(path, meter);
  meter.end();
  return { ...found, repaired: [] };
}

/** Where good copies may lie: other images, what the cache holds of compressed ones, and what programs run from. */
async function directoriesOf(places: Places, path: string): Promise<string[]> {
  const { images, damaged } = await listStore(places);
  const unpacked = join(places.cache, 'unpacked');
  // Neither has to be there.
  const names = await readdir(unpacked).catch(() => [] as string[]);
  const runs = await readdir(places.runs).catch(() => [] as string[]);
  return [
    ...[...images, ...damaged].map((other) => other.path).filter((other) => other !== path),
    ...names.filter((name) => !name.startsWith('.')).map((name) => join(unpacked, name)),
    ...runs.map((run) => join(places.runs, run, 'ctl')),
  ];
}
