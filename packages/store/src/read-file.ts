import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { StoreError } from './error.ts';

/**
 * Opens a regular file to read it. What comes with an image may be a FIFO, which would be waited for without end, or a
 * device without one. Throws ERR_FORKPOINT_IMAGE_INVALID for what is no regular file, and system errors.
 */
export async function openRegular(path: string, flags = 0): Promise<FileHandle> {
  const handle = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | flags);
  try {
    if ((await handle.stat()).isFile()) return handle;
    throw new StoreError('ERR_FORKPOINT_IMAGE_INVALID', `${path} is no regular file`);
  } catch (error) {
    await handle.close();
    throw error;
  }
}

/** Reads a regular file of at most `maxBytes` bytes. Throws what openRegular throws, and ERR_FORKPOINT_IMAGE_INVALID for longer ones. */
export async function readRegular(path: string, maxBytes: number): Promise<Buffer> {
  const handle = await openRegular(path);
  try {
    const { size } = await handle.stat();
    if (size > maxBytes) throw new StoreError('ERR_FORKPOINT_IMAGE_INVALID', `${path} is too long`);
    return await handle.readFile();
  } finally {
    await handle.close();
  }
}
