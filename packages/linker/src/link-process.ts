import {
  AREA_ANON_PRIVATE,
  AREA_FILE_PRIVATE,
  AREA_VSYSCALL,
  MAP_ANONYMOUS,
  PAGE_SIZE,
  changedArea,
} from '@forkpoint/image';
import type { PageRun, vma_entry } from '@forkpoint/image';
import { chunkHeaders } from './chunks.ts';
import type { PagesReader, Run } from './chunks.ts';
import { cutOut, runsWithin } from './pieces.ts';
import { reasonAgainst } from './policy.ts';
import type { ProcessFacts, Reason } from './policy.ts';

/** The memory of one process, linked. */
export interface LinkedMemory {
  readonly areas: readonly vma_entry[];
  /** Runs that stay in CRIU's pages file, by address. */
  readonly left: readonly Run[];
  readonly report: LinkReport;
}

/** What was linked of a process and what not, in pages. */
export interface LinkReport {
  readonly pages: number;
  readonly linked: number;
  /** Linked runs, each of which is a mapping. */
  readonly mappings: number;
  readonly kept: Readonly<Partial<Record<Reason | 'short' | 'chunk', number>>>;
  /** Shortest run that was linked, in pages. */
  readonly threshold: number;
}

/** Advice of madvise(2) by bit: without MADV_RANDOM the kernel reads around each fault, and a cold restore pulls in nearly everything. */
const MADV_RANDOM = 1n << 1n;
const MADV_HUGEPAGE = 1n << 14n;
/** O_RDONLY | O_LARGEFILE: private mappings of a file opened for reading may still be written. */
const OPEN_FLAGS = 0x8000;
/**
 * CRIU keeps one descriptor for each change of mapped file in address order (criu/files-reg.c, collect_filemap): more
 * mappings than this meet the hard limit of open files.
 */
const MAPPINGS_MAX = 6000;

interface Piece {
  readonly area: vma_entry;
  readonly runs: readonly Run[];
  readonly headers: ReadonlySet<number>;
  readonly reason: Reason | null;
}

/**
 * Turns stored pages of a process into mappings of the page file with id `fileId`. Runs shorter than `threshold` pages,
 * and what the policy excludes, stay. The threshold rises until the number of mappings is bearable.
 */
export function linkProcess(
  areas: readonly vma_entry[],
  runs: readonly PageRun[],
  facts: ProcessFacts,
  options: { readonly fileId: number; readonly threshold: number; readonly read: PagesReader },
): LinkedMemory {
  const pieces = piecesOf(areas, runs, facts, options.read);
  let { threshold } = options;
  while (mappingsAt(pieces, threshold) > MAPPINGS_MAX) threshold *= 2;
  const linkedAreas: vma_entry[] = [];
  const left: Run[] = [];
  const kept: Partial<Record<Reason | 'short' | 'chunk', number>> = {};
  let linked = 0;
  let mappings = 0;
  for (const piece of pieces) {
    let cursor = Number(piece.area.start);
    for (const run of piece.runs) {
      const why = whyKept(piece, run, threshold);
      if (why !== null) {
        kept[why] = (kept[why] ?? 0) + run.pages;
        left.push(run);
        continue;
      }
      if (run.address > cursor) linkedAreas.push(part(piece.area, cursor, run.address));
      cursor = run.address + run.pages * PAGE_SIZE;
      linkedAreas.push(mapped(piece.area, run, options.fileId));
      linked += run.pages;
      mappings++;
    }
    if (cursor < Number(piece.area.end)) linkedAreas.push(part(piece.area, cursor, Number(piece.area.end)));
  }
  const pages = runs.reduce((sum, run) => sum + (run.firstPage === undefined ? 0 : run.pageCount), 0);
  const accounted = linked + left.reduce((sum, run) => sum + run.pages, 0);
  // A page that is neither mapped nor kept would come back as zeros.
  if (accounted !== pages)
    throw new RangeError(`${pages} pages are stored and ${accounted} belong to an area`);
  return { areas: linkedAreas, left, report: { pages, linked, mappings, kept, threshold } };
}

function piecesOf(
  areas: readonly vma_entry[],
  runs: readonly PageRun[],
  facts: ProcessFacts,
  read: PagesReader,
): Piece[] {
  let next = 0;
  return areas.map((area) => {
    const reason = reasonAgainst(area, facts);
    // The vsyscall page lies above every number, and guards lie over other areas: neither has pages of its own.
    if (reason === 'guard' || (area.status & AREA_VSYSCALL) !== 0)
      return { area, runs: [], headers: new Set<number>(), reason };
    const found = runsWithin(runs, area, next);
    next = found.next;
    const isAnonymous = (area.status & AREA_ANON_PRIVATE) !== 0;
    const headers =
      reason === null && isAnonymous ? chunkHeaders(found.inside, Number(area.end), read) : new Set<number>();
    return { area, runs: cutOut(found.inside, headers), headers, reason };
  });
}

function whyKept(piece: Piece, run: Run, threshold: number): Reason | 'short' | 'chunk' | null {
  if (piece.reason !== null) return piece.reason;
  if (piece.headers.has(run.address)) return 'chunk';
  return run.pages < threshold ? 'short' : null;
}

function mappingsAt(pieces: readonly Piece[], threshold: number): number {
  return pieces.reduce(
    (sum, piece) => sum + piece.runs.filter((run) => whyKept(piece, run, threshold) === null).length,
    0,
  );
}

/** A part of an area as it was. */
function part(area: vma_entry, start: number, end: number): vma_entry {
  if (Number(area.start) === start && Number(area.end) === end) return area;
  const skipped = BigInt(start) - area.start;
  return changedArea(area, {
    start: BigInt(start),
    end: BigInt(end),
    pgoff: (area.status & AREA_FILE_PRIVATE) === 0 ? area.pgoff : area.pgoff + skipped,
  });
}

/** A part of an area as a private mapping of the page file. */
function mapped(area: vma_entry, run: Run, fileId: number): vma_entry {
  return changedArea(area, {
    start: BigInt(run.address),
    end: BigInt(run.address + run.pages * PAGE_SIZE),
    status: (area.status & ~AREA_ANON_PRIVATE) | AREA_FILE_PRIVATE,
    flags: area.flags & ~MAP_ANONYMOUS,
    shmid: BigInt(fileId),
    pgoff: BigInt(run.offset),
    fdflags: OPEN_FLAGS,
    madv: (area.madv & ~MADV_HUGEPAGE) | MADV_RANDOM,
  });
}
