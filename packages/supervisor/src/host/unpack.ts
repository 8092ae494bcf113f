import { readManifest, unpackedDirectory } from '@forkpoint/store';
import { meterFor } from './meter.ts';
import { codecOf, pathOf, placesFor } from './places.ts';
import type { WorkOptions } from './types.ts';

/** Returns where the files of an image lie as CRIU reads them; those of a compressed one are unpacked when they are not yet. */
export async function unpack(image: string, options: WorkOptions = {}): Promise<string> {
  const path = pathOf(image, options);
  const { layers } = await readManifest(path);
  if (layers.every(({ compression }) => compression === null)) return path;
  const places = placesFor(options);
  const meter = meterFor(
    options,
    'unpack',
    layers.reduce((sum, { size }) => sum + size, 0),
  );
  return await unpackedDirectory(path, places, { addon: codecOf(places), ...meter });
}
