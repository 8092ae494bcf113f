import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Assembly } from '@forkpoint/linker';
import { decodePrefetchPlan, encodePrefetchPlan } from '@forkpoint/manifest';
import type { PrefetchFile } from '@forkpoint/manifest';
import { errnoOf } from './error.ts';

/** Name of the file that says what a restore reads ahead. */
export const PREFETCH_FILE = 'prefetch.plan';

type Range = PrefetchFile['ranges'][number];

/**
 * Returns the prefetch plan of a trained image for the files that its pages were moved to; undefined when the image was not
 * trained. Throws system errors and those of the decoder.
 */
export async function prefetchAfter(
  image: string,
  assemblies: readonly Assembly[],
): Promise<Uint8Array | undefined> {
  let bytes: Uint8Array;
  try {
    bytes = await readFile(join(image, PREFETCH_FILE));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  const { files } = decodePrefetchPlan(bytes);
  // A file without ranges is read as a whole, and keeps its name.
  const moved = files.filter(({ path, ranges }) => ranges.length > 0 && isLayer(path));
  const others = files.filter((file) => !moved.includes(file));
  return encodePrefetchPlan({ files: [...others, ...movedRanges(moved, assemblies)] });
}

function isLayer(path: string): boolean {
  return path.startsWith('layers/');
}

/** Follows ranges of old page files into the new ones. */
function movedRanges(files: readonly PrefetchFile[], assemblies: readonly Assembly[]): PrefetchFile[] {
  const wanted = new Map(files.map(({ path, ranges }) => [path, ranges]));
  return assemblies.flatMap(({ file, extents }) => {
    const found: Range[] = [];
    let at = 0;
    for (const extent of extents) {
      for (const { offset, length } of wanted.get(extent.file) ?? []) {
        const low = Math.max(offset, extent.offset);
        const high = Math.min(offset + length, extent.offset + extent.length);
        if (low < high) found.push({ offset: at + low - extent.offset, length: high - low });
      }
      at += extent.length;
    }
    // What went to CRIU's own pages file is read as a whole anyway.
    return found.length > 0 && isLayer(file) ? [{ path: file, ranges: joined(found) }] : [];
  });
}

/** Returns ranges in order; those with at most `gap` bytes between them become one. */
export function joined(ranges: readonly Range[], gap = 0): Range[] {
  const result: Range[] = [];
  for (const range of ranges.toSorted((a, b) => a.offset - b.offset)) {
    const last = result.at(-1);
    if (last === undefined || range.offset > last.offset + last.length + gap) result.push(range);
    else {
      const end = Math.max(last.offset + last.length, range.offset + range.length);
      result[result.length - 1] = { offset: last.offset, length: end - last.offset };
    }
  }
  return result;
}
