import { AREA_FILE_PRIVATE } from '@forkpoint/image';
import type { vma_entry } from '@forkpoint/image';

/** Bytes of a file. */
export interface Range {
  readonly offset: number;
  readonly length: number;
}

/** Returns the ranges of file `fileId` that areas map, in order, joined where they touch. */
export function mappedRanges(areas: readonly vma_entry[], fileId: number): Range[] {
  const found = areas
    .filter((area) => isOn(area, fileId))
    .map(({ start, end, pgoff }) => ({ offset: Number(pgoff), length: Number(end - start) }))
    .sort((a, b) => a.offset - b.offset);
  const joined: Range[] = [];
  for (const { offset, length } of found) {
    const last = joined.at(-1);
    if (last !== undefined && offset <= last.offset + last.length) {
      const end = Math.max(last.offset + last.length, offset + length);
      joined[joined.length - 1] = { offset: last.offset, length: end - last.offset };
    } else {
      joined.push({ offset, length });
    }
  }
  return joined;
}

/** Makes areas map file `fileId` as it is when only `ranges` of it are kept, one behind the other. */
export function moveOffsets(areas: readonly vma_entry[], fileId: number, ranges: readonly Range[]): void {
  for (const area of areas) {
    if (!isOn(area, fileId)) continue;
    const offset = Number(area.pgoff);
    let before = 0;
    for (const range of ranges) {
      if (offset < range.offset + range.length) {
        area.pgoff = BigInt(before + offset - range.offset);
        break;
      }
      before += range.length;
    }
  }
}

/** Returns the sum of the lengths. */
export function bytesOf(ranges: readonly Range[]): number {
  return ranges.reduce((sum, { length }) => sum + length, 0);
}

function isOn({ status, shmid }: vma_entry, fileId: number): boolean {
  return (status & AREA_FILE_PRIVATE) !== 0 && Number(shmid) === fileId;
}
