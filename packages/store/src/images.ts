import { lstat, readdir } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { MAX_MANIFEST_LENGTH, parseManifest } from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import { errnoOf, reasonOf, StoreError } from './error.ts';
import { checkName } from './names.ts';
import { openRegular, readRegular } from './read-file.ts';
import { closeMatches } from './suggest.ts';

/** Name of the file that describes an image. */
export const MANIFEST_FILE = 'manifest.json';
/** Name of the file that the launcher reads. */
export const RESTORE_PLAN_FILE = 'restore.plan';
/** Longest restore plan that is read, in bytes: what the decoder accepts. */
export const PLAN_MAX = 16 << 20;

/** What lies at a path: nothing, an empty directory, an image, or something that is not ours to replace. */
export type PlaceState = 'absent' | 'empty' | 'image' | 'foreign';

/** Returns the path that an IMAGE or DEST argument means: a path when it contains `/` or starts with `.`, else a name in `images`. Throws ERR_FORKPOINT_NAME. */
export function resolveImage(argument: string, cwd: string, images: string): string {
  if (argument.includes('/') || argument.startsWith('.')) return resolve(cwd, argument);
  return join(images, checkName(argument));
}

/** Returns what lies at a path. Throws system errors other than absence, such as EACCES. */
export async function stateOfPlace(path: string): Promise<PlaceState> {
  let entries: string[];
  try {
    entries = await readdir(path);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return 'absent';
    if (errnoOf(error) === 'ENOTDIR') return 'foreign';
    throw error;
  }
  if (entries.length === 0) return 'empty';
  // The name manifest.json is common; only with a restore plan beside it is the directory ours.
  if (!entries.includes(MANIFEST_FILE) || !entries.includes(RESTORE_PLAN_FILE)) return 'foreign';
  try {
    return (await startsWith(join(path, RESTORE_PLAN_FILE), 'forkpoint-plan:')) ? 'image' : 'foreign';
  } catch (error) {
    if (error instanceof StoreError) return 'foreign';
    throw error;
  }
}

/**
 * Says what is wrong with a directory that was an image once: it has CRIU's files with a manifest or a plan, and is none all the same.
 * Undefined for an image and for what never was one. Throws system errors.
 */
export async function tornReason(path: string): Promise<string | undefined> {
  if ((await stateOfPlace(path)) !== 'foreign') return undefined;
  const entries = (await lstat(path)).isDirectory() ? await readdir(path) : [];
  if (!entries.includes('pstree.img')) return undefined;
  const [hasManifest, hasPlan] = [MANIFEST_FILE, RESTORE_PLAN_FILE].map((name) => entries.includes(name));
  if (hasManifest !== true && hasPlan !== true) return undefined;
  if (hasManifest !== true) return `it has no ${MANIFEST_FILE}`;
  return hasPlan === true ? `its ${RESTORE_PLAN_FILE} is damaged` : `it has no ${RESTORE_PLAN_FILE}`;
}

/** Returns whether a directory is an image. */
export async function isImage(path: string): Promise<boolean> {
  return (await stateOfPlace(path)) === 'image';
}

/**
 * Reads and checks the manifest of an image directory.
 * Throws ERR_FORKPOINT_IMAGE_NOT_FOUND, ERR_FORKPOINT_IMAGE_INVALID, or the errors of parseManifest.
 */
export async function readManifest(image: string): Promise<Manifest> {
  const file = join(image, MANIFEST_FILE);
  try {
    return parseManifest((await readRegular(file, MAX_MANIFEST_LENGTH)).toString('utf8'));
  } catch (cause) {
    const errno = errnoOf(cause);
    if (errno === 'ENOENT' || errno === 'ENOTDIR') throw await notAnImage(image, cause);
    if (errno === undefined || errno.startsWith('ERR_')) throw cause;
    throw new StoreError(
      'ERR_FORKPOINT_IMAGE_INVALID',
      `the image ${image} cannot be read: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

async function notAnImage(image: string, cause: unknown): Promise<StoreError> {
  const state = await stateOfPlace(image).catch(() => 'absent' as const);
  if (state === 'absent') {
    const siblings = await readdir(join(image, '..')).catch(() => [] as string[]);
    const close = closeMatches(image.slice(image.lastIndexOf('/') + 1), siblings);
    const hint =
      close.length > 0 ? `Did you mean ${close.map((name) => `\`${name}\``).join(', ')}?` : undefined;
    return new StoreError('ERR_FORKPOINT_IMAGE_NOT_FOUND', `there is no image at ${image}`, {
      hint: hint ?? 'Take one with `forkpoint checkpoint RUN DEST`',
      cause,
    });
  }
  const why = state === 'empty' ? 'the directory is empty' : 'it has no manifest.json';
  return new StoreError('ERR_FORKPOINT_IMAGE_INVALID', `${image} is not an image: ${why}`, {
    hint: 'Take one with `forkpoint checkpoint RUN DEST`',
    cause,
  });
}

async function startsWith(file: string, text: string): Promise<boolean> {
  const handle = await openRegular(file);
  try {
    const { buffer, bytesRead } = await handle.read(Buffer.alloc(text.length), 0, text.length, 0);
    return buffer.subarray(0, bytesRead).toString('latin1') === text;
  } finally {
    await handle.close();
  }
}
