import { PAGE_SIZE } from '@forkpoint/image';
import type { PagesReader, Run } from './chunks.ts';

/** A run of pages that is mapped from a page file. */
export interface MappedRun extends Run {
  /** Id of the page file in files.img. */
  readonly fileId: number;
}

/** What the parent of a process maps, by address. */
export interface ParentMemory {
  readonly mapped: readonly MappedRun[];
  /** Reads `length` bytes at `offset` of one of its page files. */
  readonly read: (fileId: number, offset: number, length: number) => Uint8Array;
}

/** A mapping, with the pages below it that differ and are kept beside it. */
export interface Mapping extends MappedRun {
  readonly differing: readonly Run[];
}

const BLOCK = 256 * PAGE_SIZE;

/**
 * Returns the stretches of a run that equal, byte for byte, what the parent maps at the same address. A child of fork(2)
 * shares such pages with its parent; mapped from the parent's page file it goes on sharing them.
 */
export function equalStretches(run: Run, parent: ParentMemory, read: PagesReader): MappedRun[] {
  const stretches: MappedRun[] = [];
  const runEnd = run.address + run.pages * PAGE_SIZE;
  for (let at = firstBehind(parent.mapped, run.address); at < parent.mapped.length; at++) {
    const theirs = parent.mapped[at];
    if (theirs === undefined || theirs.address >= runEnd) break;
    const from = Math.max(run.address, theirs.address);
    const to = Math.min(runEnd, theirs.address + theirs.pages * PAGE_SIZE);
    for (let block = from; block < to; block += BLOCK) {
      const length = Math.min(BLOCK, to - block);
      const offset = theirs.offset + block - theirs.address;
      const own = read(run.offset + block - run.address, length);
      const other = parent.read(theirs.fileId, offset, length);
      for (const [first, pages] of equalPages(own, other)) {
        append(stretches, {
          address: block + first * PAGE_SIZE,
          pages,
          fileId: theirs.fileId,
          offset: offset + first * PAGE_SIZE,
        });
      }
    }
  }
  return stretches;
}

/**
 * Cuts a run into mappings of at least `threshold` pages and what is kept. Stretches of the parent's that lie in one line
 * with a gap below the threshold become one mapping: the pages in the gap that differ are kept, as copies over it.
 */
export function cutRun(
  run: Run,
  stretches: readonly MappedRun[],
  threshold: number,
  fileId: number,
): { mappings: Mapping[]; kept: Run[] } {
  const mappings: Mapping[] = [];
  const kept: Run[] = [];
  let at = run.address;
  const own = (to: number): void => {
    const rest = { address: at, pages: (to - at) / PAGE_SIZE, offset: run.offset + at - run.address };
    at = to;
    if (rest.pages >= threshold) mappings.push({ ...rest, fileId, differing: [] });
    else if (rest.pages > 0) kept.push(rest);
  };
  for (const stretch of stretches) {
    if (stretch.pages < threshold) continue;
    const end = stretch.address + stretch.pages * PAGE_SIZE;
    const last = mappings.at(-1);
    const gap = (stretch.address - at) / PAGE_SIZE;
    if (last !== undefined && at === endOf(last) && gap < threshold && isInLine(last, stretch)) {
      const differing = unequal(run, stretches, at, stretch.address);
      mappings[mappings.length - 1] = {
        ...last,
        pages: (end - last.address) / PAGE_SIZE,
        differing: [...last.differing, ...differing],
      };
    } else {
      own(stretch.address);
      mappings.push({ ...stretch, differing: [] });
    }
    at = end;
  }
  own(run.address + run.pages * PAGE_SIZE);
  return { mappings, kept };
}

/** Index of the first run that does not end before `address`. */
function firstBehind(runs: readonly MappedRun[], address: number): number {
  let low = 0;
  let high = runs.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    const run = runs[middle];
    if (run !== undefined && endOf(run) <= address) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Yields first page and count of each stretch of pages that are the same in both. */
function equalPages(own: Uint8Array, other: Uint8Array): [first: number, pages: number][] {
  const count = Math.min(own.length, other.length) / PAGE_SIZE;
  if (own.length === other.length && Buffer.compare(own, other) === 0) return [[0, count]];
  const found: [number, number][] = [];
  for (let page = 0; page < count; page++) {
    const from = page * PAGE_SIZE;
    const isEqual =
      Buffer.compare(own.subarray(from, from + PAGE_SIZE), other.subarray(from, from + PAGE_SIZE)) === 0;
    const last = found.at(-1);
    if (isEqual && last !== undefined && last[0] + last[1] === page) last[1]++;
    else if (isEqual) found.push([page, 1]);
  }
  return found;
}

/** The pages of [from, to) that are in no stretch. */
function unequal(run: Run, stretches: readonly MappedRun[], from: number, to: number): Run[] {
  const pieces: Run[] = [];
  let at = from;
  const push = (until: number): void => {
    if (until > at)
      pieces.push({ address: at, pages: (until - at) / PAGE_SIZE, offset: run.offset + at - run.address });
  };
  for (const stretch of stretches) {
    if (stretch.address < from || stretch.address >= to) continue;
    push(stretch.address);
    at = endOf(stretch);
  }
  push(to);
  return pieces;
}

function append(stretches: MappedRun[], next: MappedRun): void {
  const last = stretches.at(-1);
  if (last !== undefined && endOf(last) === next.address && isInLine(last, next))
    stretches[stretches.length - 1] = { ...last, pages: last.pages + next.pages };
  else stretches.push(next);
}

function isInLine(a: MappedRun, b: MappedRun): boolean {
  return a.fileId === b.fileId && a.offset - a.address === b.offset - b.address;
}

function endOf(run: Run): number {
  return run.address + run.pages * PAGE_SIZE;
}
