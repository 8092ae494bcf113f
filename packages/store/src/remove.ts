import { lstat, rename } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf, reasonOf, StoreError, worded } from './error.ts';
import { stateOfPlace, tornReason } from './images.ts';
import { ownOwner } from './owner.ts';
import { temporaryName } from './publish.ts';
import { removeTree } from './remove-tree.ts';

/**
 * Removes an image: it disappears by one rename, and its files go afterwards. Programs that run from it have links of
 * their own to what they need. With `isForced` also one whose plan is damaged, as long as it has a manifest or a plan and
 * CRIU's files. Throws ERR_FORKPOINT_IMAGE_NOT_FOUND and ERR_FORKPOINT_IMAGE_INVALID, and then nothing is changed, or
 * ERR_FORKPOINT_REMOVE.
 */
export async function removeImage(path: string, options: { isForced?: boolean } = {}): Promise<void> {
  await checkRemovable(path, options);
  const aside = join(dirname(path), temporaryName(basename(path), await ownOwner()));
  try {
    await rename(path, aside);
    await removeTree(aside);
  } catch (cause) {
    throw new StoreError('ERR_FORKPOINT_REMOVE', `the image ${path} cannot be removed: ${reasonOf(cause)}`, {
      hint: 'What is left of it goes with `forkpoint gc`',
      cause,
    });
  }
}

/** Throws what removeImage would throw before it changes anything. */
export async function checkRemovable(path: string, options: { isForced?: boolean } = {}): Promise<void> {
  await check(path, options.isForced === true).catch((error: unknown) => {
    throw worded(error, 'ERR_FORKPOINT_REMOVE', `the image ${path} cannot be removed`);
  });
}

async function check(path: string, isForced: boolean): Promise<void> {
  const facts = await lstat(path).catch((error: unknown) => {
    if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
    throw error;
  });
  if (facts === undefined) {
    throw new StoreError('ERR_FORKPOINT_IMAGE_NOT_FOUND', `there is no image at ${path}`, {
      hint: 'See the images with `forkpoint ls`',
    });
  }
  if (facts.isSymbolicLink()) {
    throw new StoreError('ERR_FORKPOINT_IMAGE_INVALID', `${path} is a symbolic link, and no image itself`, {
      hint: 'Give the path that it leads to',
    });
  }
  if ((await stateOfPlace(path)) === 'image') return;
  const isTorn = (await tornReason(path)) !== undefined;
  if (isTorn && isForced) return;
  throw new StoreError('ERR_FORKPOINT_IMAGE_INVALID', `${path} is not an image`, {
    hint: isTorn ? 'It looks like a damaged one: remove it with --force' : 'Nothing was removed',
  });
}
