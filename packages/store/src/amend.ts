import { mkdir, readdir, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { carryDigests, digestsToCarry } from './carry-digests.ts';
import { DIGESTS_FILE } from './digests.ts';
import { guardedExchange } from './exchange.ts';
import { readManifest } from './images.ts';
import { linkOrCopy } from './link-or-copy.ts';
import { ownOwner } from './owner.ts';
import { discard, openDestination, publish } from './publish.ts';
import type { Exchange } from './publish.ts';

/**
 * Adds files to an image, or replaces some of its own: a new directory of links with those files takes its place, since
 * nothing in an image is ever changed. Throws StoreError and system errors, and the image is then as it was.
 */
export async function amendImage(
  image: string,
  files: ReadonlyMap<string, Uint8Array>,
  options: { readonly exchange: Exchange; readonly signal?: AbortSignal },
): Promise<void> {
  await readManifest(image);
  const digests = await digestsToCarry(image, options);
  const identity = await stat(image);
  const destination = await openDestination(image, await ownOwner());
  try {
    for (const entry of await readdir(image, { recursive: true, withFileTypes: true })) {
      const at = join(entry.parentPath, entry.name).slice(image.length + 1);
      if (entry.isDirectory()) await mkdir(join(destination.temporary, at), { mode: 0o700 });
      else if (entry.isFile() && at !== DIGESTS_FILE && !files.has(at))
        await linkOrCopy(join(image, at), join(destination.temporary, at));
    }
    for (const [name, bytes] of files)
      await writeFile(join(destination.temporary, name), bytes, { mode: 0o600 });
    await carryDigests(destination.temporary, digests, { made: files.keys() }, { signal: options.signal });
    options.signal?.throwIfAborted();
    await publish(destination, { exchange: guardedExchange(image, identity, options) });
  } catch (error) {
    await discard(destination);
    throw error;
  }
}
