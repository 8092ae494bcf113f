import { resolve } from 'node:path';
import { hasLabels, heldByRuns, listDirectory, listRuns, listStore, runsOf, usageOf } from '@forkpoint/store';
import type { ImageEntry, Listing, Run, StoreUsage } from '@forkpoint/store';
import { placesFor } from './places.ts';
import type { ListedImage, ListOptions } from './types.ts';

/** A directory of images, what runs from them, and who uses their bytes. */
export interface StoreView extends Listing {
  readonly runs: readonly Run[];
  readonly usage: StoreUsage;
}

/** Reads the store, or the directory that was given instead. Throws ERR_FORKPOINT_IMAGE_NOT_FOUND. */
export async function viewStore(options: ListOptions = {}): Promise<StoreView> {
  const { directory, cwd = process.cwd(), labels = {} } = options;
  const places = placesFor(options);
  const [listing, runs] = await Promise.all([
    directory === undefined ? listStore(places) : listDirectory(resolve(cwd, directory)),
    listRuns(places.runs),
  ]);
  const { images, damaged } = listing;
  // Labels choose what is shown, and change nothing about who shares what.
  const usage = usageOf(images, await heldByRuns(runs));
  return { images: images.filter((image) => hasLabels(image, labels)), damaged, runs, usage };
}

/** Returns an image of a view as listings tell it; the names are stable. */
export function listedImage(image: ImageEntry, view: StoreView): ListedImage {
  const { files: _files, restBytes: _rest, ...facts } = image;
  const { ownBytes, sharedBytes } = view.usage.byPath.get(image.path) ?? { ownBytes: 0, sharedBytes: 0 };
  const runs = runsOf(image, view.runs).map(({ id, name }) => ({ id, name }));
  return { ...facts, ownBytes, sharedBytes, runs };
}
