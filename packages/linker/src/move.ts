import {
  chmodSync,
  closeSync,
  constants,
  copyFileSync,
  existsSync,
  linkSync,
  mkdirSync,
  openSync,
  readSync,
  renameSync,
  statSync,
  unlinkSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { bytesOf } from './compact.ts';
import type { Range } from './compact.ts';
import type { LinkResult } from './link.ts';

/** Directory of an image that holds its layers. */
export const LAYERS = 'layers';

const BLOCK = 1 << 20;

/**
 * Carries out the patches and the moves of a linked image in its directory: each pages file becomes a layer, by rename where the layer
 * is the whole file, and a new pages file gets what stays. Copies only the ranges that `holds` and `left` name. Throws
 * system errors; the directory is then of no use.
 */
export function moveLayers(
  directory: string,
  { moves, patches }: Pick<LinkResult, 'moves' | 'patches'>,
): void {
  for (const { pages, offset, bytes } of patches) patch(join(directory, pages), offset, bytes);
  mkdirSync(join(directory, LAYERS), { recursive: true, mode: 0o700 });
  for (const { pages, layer, holds, left } of moves) {
    const target = join(directory, LAYERS, layer);
    const own = join(directory, pages);
    // The whole file is the layer; or it is read once more and goes.
    const whole = holds === null ? target : `${own}.whole`;
    renameSync(own, whole);
    const from = openSync(whole, 'r');
    try {
      if (holds !== null) writeRanges(from, target, holds);
      writeRanges(from, own, left);
    } finally {
      closeSync(from);
    }
    // CRIU compares the mode of what it maps: a copy made elsewhere has this one too.
    chmodSync(target, 0o600);
    if (holds !== null) unlinkSync(whole);
  }
}

/**
 * Gives an image its own names for layers that lie in `from`: hard links, or copies where the file system or the owner
 * forbids links. Returns how many bytes were copied.
 */
export function adoptLayers(from: string, directory: string, layers: readonly string[]): number {
  let copied = 0;
  const target = join(directory, LAYERS);
  // Not by mkdir's own word: Node.js takes any error for success when the directory is there.
  if (layers.length > 0 && !existsSync(target)) mkdirSync(target, { mode: 0o700 });
  for (const layer of layers) copied += linkOrCopy(join(from, layer), join(target, layer));
  return copied;
}

function linkOrCopy(from: string, to: string): number {
  try {
    linkSync(from, to);
    return 0;
  } catch (error) {
    const code = error instanceof Error && 'code' in error ? error.code : undefined;
    // Another file system, too many links, or a file of another owner (fs.protected_hardlinks).
    if (code !== 'EXDEV' && code !== 'EMLINK' && code !== 'EPERM') throw error;
    copyFileSync(from, to, constants.COPYFILE_FICLONE);
    const { mode, size } = statSync(to);
    // The copy is ours, and what is in it may be somebody else's: nobody shall run that as us.
    if ((mode & 0o7000) !== 0) chmodSync(to, mode & 0o777);
    return size;
  }
}

function patch(path: string, offset: number, bytes: Uint8Array): void {
  const file = openSync(path, 'r+');
  try {
    writeSync(file, bytes, 0, bytes.length, offset);
  } finally {
    closeSync(file);
  }
}

function writeRanges(from: number, path: string, ranges: readonly Range[]): void {
  const to = openSync(path, 'wx', 0o600);
  try {
    const buffer = Buffer.allocUnsafe(Math.min(bytesOf(ranges), BLOCK));
    // Many ranges are one page long: they are written together.
    let filled = 0;
    const write = (): void => {
      for (let done = 0; done < filled;) done += writeSync(to, buffer, done, filled - done);
      filled = 0;
    };
    for (const { offset, length } of ranges) {
      for (let done = 0; done < length;) {
        if (filled === buffer.length) write();
        const count = readSync(
          from,
          buffer,
          filled,
          Math.min(buffer.length - filled, length - done),
          offset + done,
        );
        if (count === 0)
          throw new RangeError(`a pages file ends at ${offset + done}, before the run that is in it`);
        filled += count;
        done += count;
      }
    }
    write();
  } finally {
    closeSync(to);
  }
}
