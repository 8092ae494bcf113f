import { PAGE_PRESENT, PAGE_SIZE, pagemapEntry } from '@forkpoint/image';
import type { PagemapFile, PageRun, vma_entry } from '@forkpoint/image';
import type { Run } from './chunks.ts';

/** Cuts the stored runs of a process at the bounds of an area. `from` is where the search begins; runs are in order. */
export function runsWithin(
  runs: readonly PageRun[],
  area: vma_entry,
  from: number,
): { inside: Run[]; next: number } {
  const start = Number(area.start);
  const end = Number(area.end);
  let next = from;
  while (next < runs.length && endOf(runs[next]) <= start) next++;
  const inside: { address: number; pages: number; offset: number }[] = [];
  for (let at = next; at < runs.length; at++) {
    const run = runs[at];
    if (run === undefined || run.address >= end) break;
    if (run.firstPage === undefined) continue;
    const low = Math.max(start, run.address);
    const high = Math.min(end, endOf(run));
    const offset = run.firstPage * PAGE_SIZE + (low - run.address);
    const last = inside.at(-1);
    const pages = (high - low) / PAGE_SIZE;
    // CRIU writes several entries for pages that follow each other in memory and in the file alike.
    if (
      last !== undefined &&
      last.address + last.pages * PAGE_SIZE === low &&
      last.offset + last.pages * PAGE_SIZE === offset
    ) {
      last.pages += pages;
    } else {
      inside.push({ address: low, pages, offset });
    }
  }
  return { inside, next };
}

/** Cuts runs so that every page in `sorted` stands by itself. */
export function cutOut(runs: readonly Run[], sorted: readonly number[]): Run[] {
  const first = runs[0];
  if (first === undefined || sorted.length === 0) return [...runs];
  const pieces: Run[] = [];
  let next = firstFrom(sorted, first.address);
  for (const run of runs) {
    let at = run.address;
    const end = run.address + run.pages * PAGE_SIZE;
    const push = (until: number): void => {
      if (until > at)
        pieces.push({ address: at, pages: (until - at) / PAGE_SIZE, offset: run.offset + at - run.address });
      at = until;
    };
    while (next < sorted.length && (sorted[next] ?? 0) < run.address) next++;
    for (; next < sorted.length && (sorted[next] ?? 0) < end; next++) {
      push(sorted[next] ?? 0);
      push(at + PAGE_SIZE);
    }
    push(end);
  }
  return pieces;
}

/** Index of the first number that is not below `least`. */
function firstFrom(sorted: readonly number[], least: number): number {
  let low = 0;
  let high = sorted.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((sorted[middle] ?? 0) < least) low = middle + 1;
    else high = middle;
  }
  return low;
}

/** Returns the entries of a pagemap of which only `left` is stored; what was no page of the pages file before stays so. */
export function pagemapWith(runs: readonly PageRun[], left: readonly Run[]): PagemapFile['entries'] {
  return [
    ...runs.filter((run) => run.firstPage === undefined).map((run) => ({ ...run, pages: run.pageCount })),
    ...left.map((run) => ({ ...run, flags: PAGE_PRESENT })),
  ]
    .sort((a, b) => a.address - b.address)
    .map(({ address, pages, flags }) => pagemapEntry(address, pages, flags));
}

function endOf(run: PageRun | undefined): number {
  return run === undefined ? 0 : run.address + run.pageCount * PAGE_SIZE;
}
