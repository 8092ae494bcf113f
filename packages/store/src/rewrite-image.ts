import { lstat, mkdir, readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { DIGESTS_FILE } from './digests.ts';
import { StoreError, worded } from './error.ts';
import { MANIFEST_FILE, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { linkOrCopy } from './link-or-copy.ts';
import { ownOwner } from './owner.ts';
import { discard, openDestination, publish } from './publish.ts';
import type { Exchange } from './publish.ts';

/** How an image is replaced by another form of itself. */
export interface RewriteOptions {
  /** Swaps two directories atomically. */
  readonly exchange: Exchange;
  /** Whether to wait for the disk; true when absent. */
  readonly sync?: boolean;
  readonly signal?: AbortSignal | undefined;
}

/**
 * Replaces an image by another form of itself: `fill` makes it in a new directory beside, which then takes the place of the
 * old one at once and as a whole. Somebody who has put another image there meanwhile keeps it. Whatever fails, the image
 * stays as it was and nothing is left behind. Throws StoreError, and the reason of the signal.
 */
export async function rewriteImage(
  image: string,
  options: RewriteOptions,
  fill: (directory: string) => Promise<void>,
): Promise<string> {
  // Says in better words than stat(2) when there is no image.
  await readManifest(image);
  const before = await identityOf(image);
  const destination = await openDestination(image, await ownOwner());
  try {
    await fill(destination.temporary);
    options.signal?.throwIfAborted();
    await publish(destination, {
      sync: options.sync !== false,
      exchange: async (temporary, path) => {
        if ((await identityOf(path)) !== before) throw changed(image);
        await options.exchange(temporary, path);
        if ((await identityOf(temporary)) === before) return;
        await options.exchange(temporary, path);
        throw changed(image);
      },
    });
    return destination.path;
  } catch (cause) {
    await discard(destination);
    throw worded(cause, 'ERR_FORKPOINT_REWRITE', `${image} stays as it was, and cannot be written anew`);
  }
}

/** Gives a new directory names for all files of an image but those that are written anew. Throws system errors. */
export async function linkRest(
  image: string,
  directory: string,
  without: ReadonlySet<string>,
): Promise<void> {
  const own = new Set([MANIFEST_FILE, RESTORE_PLAN_FILE, DIGESTS_FILE]);
  await mkdir(join(directory, 'layers'), { mode: 0o700 });
  // A link in the place of the layers would lead out of the image.
  const hasLayers = (await lstat(join(image, 'layers')).catch(() => undefined))?.isDirectory() === true;
  for (const part of hasLayers ? ['', 'layers/'] : ['']) {
    const entries = await readdir(join(image, part), { withFileTypes: true });
    for (const entry of entries) {
      const name = `${part}${entry.name}`;
      // Links, devices and directories are none of ours.
      if (!entry.isFile() || own.has(name) || without.has(name)) continue;
      await linkOrCopy(join(image, name), join(directory, name));
    }
  }
}

async function identityOf(path: string): Promise<string> {
  const { dev, ino } = await stat(path);
  return `${dev}:${ino}`;
}

function changed(image: string): StoreError {
  return new StoreError(
    'ERR_FORKPOINT_REWRITE',
    `another image was put at ${image} meanwhile, and stays as it is`,
    {
      hint: 'Run the command again',
    },
  );
}
