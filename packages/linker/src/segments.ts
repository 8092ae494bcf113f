import { PAGE_SIZE } from '@forkpoint/image';
import type { PageRun } from '@forkpoint/image';

/** Pages of a process that lie one behind the other in memory and in one file of the image. */
export interface Segment {
  readonly address: number;
  readonly pages: number;
  /** Name within the image: `pages-1.img` or `layers/NAME`. */
  readonly file: string;
  /** Bytes. */
  readonly offset: number;
}

/** A range of a file of the image, in bytes. */
export interface Extent {
  readonly file: string;
  readonly offset: number;
  readonly length: number;
}

/** Returns the part of `below` that `above` does not cover; both are in address order, and so is the result. */
export function uncovered(below: readonly Segment[], above: readonly Segment[]): Segment[] {
  const free: Segment[] = [];
  let next = 0;
  for (const segment of below) {
    let at = segment.address;
    const end = endOf(segment);
    while (next < above.length && endOf(above[next]) <= at) next++;
    for (let i = next; i < above.length && startOf(above[i]) < end; i++) {
      if (startOf(above[i]) > at) free.push(slice(segment, at, startOf(above[i])));
      at = Math.max(at, Math.min(end, endOf(above[i])));
    }
    if (at < end) free.push(slice(segment, at, end));
  }
  return free;
}

/**
 * Lays segments one behind the other, in the order given, as a pages file that does not exist yet: `runs` say what of it
 * is where in memory, `extentsOf` where a range of it comes from.
 */
export class Collage {
  readonly runs: readonly PageRun[];
  readonly #segments: readonly Segment[];
  /** Where each segment begins in the collage, in bytes. */
  readonly #starts: readonly number[];

  constructor(segments: readonly Segment[], flags: number) {
    let firstPage = 0;
    const runs: PageRun[] = [];
    const starts: number[] = [];
    for (const { address, pages } of segments) {
      runs.push({ address, pageCount: pages, flags, firstPage });
      starts.push(firstPage * PAGE_SIZE);
      firstPage += pages;
    }
    this.runs = runs;
    this.#segments = segments;
    this.#starts = starts;
  }

  /** Returns the extents that a range of the collage consists of, neighbours joined. */
  extentsOf(offset: number, length: number): Extent[] {
    const extents: Extent[] = [];
    let at = offset;
    for (let i = this.#indexAt(offset); at < offset + length; i++) {
      const segment = this.#segments[i];
      const start = this.#starts[i];
      if (segment === undefined || start === undefined)
        throw new RangeError(`there are no pages at ${at} of a collage`);
      const skipped = at - start;
      const size = Math.min(segment.pages * PAGE_SIZE - skipped, offset + length - at);
      push(extents, { file: segment.file, offset: segment.offset + skipped, length: size });
      at += size;
    }
    return extents;
  }

  #indexAt(offset: number): number {
    let low = 0;
    let high = this.#starts.length;
    while (high - low > 1) {
      const middle = (low + high) >> 1;
      if ((this.#starts[middle] ?? 0) <= offset) low = middle;
      else high = middle;
    }
    return low;
  }
}

/** Adds an extent, joined with the last one where it follows that in the file. */
export function push(extents: Extent[], extent: Extent): void {
  const last = extents.at(-1);
  if (last !== undefined && last.file === extent.file && last.offset + last.length === extent.offset)
    extents[extents.length - 1] = { ...last, length: last.length + extent.length };
  else extents.push(extent);
}

/** Cuts a segment at addresses that lie within it. */
export function slice(segment: Segment, start: number, end: number): Segment {
  return {
    ...segment,
    address: start,
    pages: (end - start) / PAGE_SIZE,
    offset: segment.offset + start - segment.address,
  };
}

function startOf(segment: Segment | undefined): number {
  return segment?.address ?? Number.POSITIVE_INFINITY;
}

function endOf(segment: Segment | undefined): number {
  return segment === undefined ? Number.POSITIVE_INFINITY : segment.address + segment.pages * PAGE_SIZE;
}
