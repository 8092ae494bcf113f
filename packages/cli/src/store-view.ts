import { viewStore } from '@forkpoint/supervisor/host';
import type { StoreView } from '@forkpoint/supervisor/host';
import type { ImageEntry, Listing } from '@forkpoint/store';
import type { Cli } from './context.ts';
import { safeText } from './ui/format.ts';

/** Reads the store, or the directory that was given instead. Damaged images are named on stderr. */
export async function viewed(
  cli: Cli,
  directory?: string,
  labels?: Readonly<Record<string, string>>,
): Promise<StoreView> {
  const view = await viewStore({ home: cli.places.home, cwd: cli.cwd, directory, labels });
  warnOfDamaged(cli, view.damaged);
  return view;
}

/** Says on stderr which directories look like images and cannot be read as such. */
export function warnOfDamaged(cli: Cli, damaged: Listing['damaged']): void {
  for (const { path, reason } of damaged)
    cli.writeErr(
      `${cli.paintErr('warning', 'Warning:')} ${safeText(path)} is damaged: ${safeText(reason)}\n`,
    );
}

/** Returns the labels of an image as one word each. */
export function labelsText(image: Pick<ImageEntry, 'labels'>): string {
  return Object.entries(image.labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
}

/** Returns how old an image is, in milliseconds. */
export function ageOf(image: Pick<ImageEntry, 'createdAt'>): number {
  return Math.max(0, Date.now() - Date.parse(image.createdAt));
}
