import { constants } from 'node:fs';
import { chmod, copyFile, link, stat } from 'node:fs/promises';
import { errnoOf } from './error.ts';

/** Set-user-ID, set-group-ID and the sticky bit. */
const SPECIAL = 0o7000;

/**
 * Gives a file a second name, or makes a copy where the file system or the owner forbids links: one that shares its blocks
 * where that can be had, and has none of its set-ID bits. Returns how many bytes were copied.
 */
export async function linkOrCopy(from: string, to: string): Promise<number> {
  try {
    await link(from, to);
    return 0;
  } catch (error) {
    // Another file system, too many links, or a file of another owner (fs.protected_hardlinks).
    if (!['EXDEV', 'EMLINK', 'EPERM'].includes(errnoOf(error) ?? '')) throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
    const { mode, size } = await stat(to);
    // The copy is ours, and what is in it may be somebody else's: nobody shall run that as us.
    if ((mode & SPECIAL) !== 0) await chmod(to, mode & 0o777);
    return size;
  }
}
