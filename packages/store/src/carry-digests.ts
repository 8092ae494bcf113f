import { join } from 'node:path';
import { digestOf, readDigests, recordDigests, writeDigests } from './digests.ts';
import type { DigestOptions, Digests } from './digests.ts';
import { errnoOf, StoreError } from './error.ts';
import { MANIFEST_FILE, RESTORE_PLAN_FILE } from './images.ts';
import type { Watch } from './packing.ts';

/**
 * Returns the digests of an image that is about to be written anew, or null when there are none that can be used. Throws
 * ERR_FORKPOINT_DIGEST when its manifest or its plan is another one than when they were computed: once it is written anew
 * nobody could tell.
 */
export async function digestsToCarry(image: string, watch: Watch = {}): Promise<Digests | null> {
  const old = await readDigests(image).catch((error: unknown) => {
    if (errnoOf(error) === 'ERR_FORKPOINT_DIGEST') return null;
    throw error;
  });
  if (old !== null) await assertUnchanged(image, old, [MANIFEST_FILE, RESTORE_PLAN_FILE], watch);
  return old;
}

/**
 * Reads files of an image that will not be in the next form of it, and compares them with its digests: damage must not
 * become content that counts as good. Throws ERR_FORKPOINT_DIGEST, system errors, and the reason of the signal.
 */
export async function assertUnchanged(
  image: string,
  digests: Digests,
  names: readonly string[],
  watch: Watch = {},
): Promise<void> {
  for (const name of names) {
    const known = digests.files[name];
    if (known !== undefined && known.sha256 !== (await digestOf(join(image, name), watch)).sha256)
      throw damaged(image, name);
  }
}

/** Returns the error for a file that has other content than its digest says. */
export function damaged(image: string, name: string): StoreError {
  return new StoreError(
    'ERR_FORKPOINT_DIGEST',
    `${name} of ${image} has other content than when the image was taken`,
    { hint: `Run \`forkpoint verify --repair ${image}\`` },
  );
}

/**
 * Puts digests into the new form of an image: those of `made` are computed, but for those that are `known` since the file was
 * written, those of `replaced` go, and all others are the `old` ones, so that damage in what stayed is found as before. Without `old` all of them are computed. Throws system errors,
 * and the reason of the signal.
 */
export async function carryDigests(
  directory: string,
  old: Digests | null,
  changed: {
    readonly made: Iterable<string>;
    readonly replaced?: Iterable<string>;
    readonly known?: Digests['files'];
  },
  options: DigestOptions = {},
): Promise<void> {
  if (old === null) {
    await recordDigests(directory, options);
    return;
  }
  const files = new Map(Object.entries(old.files));
  for (const name of changed.replaced ?? []) files.delete(name);
  for (const name of changed.made)
    files.set(name, changed.known?.[name] ?? (await digestOf(join(directory, name), options)));
  await writeDigests(directory, { ...old, files: Object.fromEntries(files) });
}
