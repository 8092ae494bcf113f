import { resolve } from 'node:path';
import { hasLabels, heldByRuns, listDirectory, listRuns, listStore, runsOf, usageOf } from '@forkpoint/store';
import type { ImageEntry, Listing, Run, StoreUsage } from '@forkpoint/store';
import type { Cli } from './context.ts';
import { safeText } from './ui/format.ts';

/** A directory of images, what runs from them, and who uses their bytes. */
export interface StoreView extends Listing {
  readonly runs: readonly Run[];
  readonly usage: StoreUsage;
}

/** Reads the store, or the directory that was given instead. Damaged images are named on stderr. */
export async function viewStore(cli: Cli, directory: string | undefined): Promise<StoreView> {
  const [listing, runs] = await Promise.all([
    directory === undefined ? listStore(cli.places) : listDirectory(resolve(cli.cwd, directory)),
    listRuns(cli.places.runs),
  ]);
  const { images, damaged } = listing;
  return { images, damaged, runs, usage: usageOf(images, await heldByRuns(runs)) };
}

/** Says on stderr which directories look like images and cannot be read as such. */
export function warnOfDamaged(cli: Cli, { damaged }: Listing): void {
  for (const { path, reason } of damaged)
    cli.writeErr(
      `${cli.paintErr('warning', 'Warning:')} ${safeText(path)} is damaged: ${safeText(reason)}\n`,
    );
}

/** Returns the images with these labels. */
export function withLabels(
  images: readonly ImageEntry[],
  labels: Readonly<Record<string, string>> | undefined,
): ImageEntry[] {
  return images.filter((image) => hasLabels(image, labels ?? {}));
}

/** Returns what `ls --json` and `tree --json` tell of an image; the names are stable. */
export function imageJson(image: ImageEntry, view: StoreView): Record<string, unknown> {
  const { files: _files, restBytes: _rest, ...facts } = image;
  const usage = view.usage.byPath.get(image.path) ?? { ownBytes: 0, sharedBytes: 0 };
  return {
    ...facts,
    ownBytes: usage.ownBytes,
    sharedBytes: usage.sharedBytes,
    runs: runsOf(image, view.runs).map(({ id, name }) => ({ id, name })),
  };
}

/** Returns the labels of an image as one word each. */
export function labelsText(image: ImageEntry): string {
  return Object.entries(image.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

/** Returns how old an image is, in milliseconds. */
export function ageOf(image: ImageEntry): number {
  return Math.max(0, Date.now() - Date.parse(image.createdAt));
}
