import { constants } from 'node:fs';
import { copyFile, link, stat } from 'node:fs/promises';
import { errnoOf } from './error.ts';

/**
 * Gives a file a second name, or makes a copy where the file system or the owner forbids links: one that shares its blocks
 * where that can be had. Returns how many bytes were copied.
 */
export async function linkOrCopy(from: string, to: string): Promise<number> {
  try {
    await link(from, to);
    return 0;
  } catch (error) {
    // Another file system, too many links, or a file of another owner (fs.protected_hardlinks).
    if (!['EXDEV', 'EMLINK', 'EPERM'].includes(errnoOf(error) ?? '')) throw error;
    await copyFile(from, to, constants.COPYFILE_FICLONE);
    return (await stat(to)).size;
  }
}
