import {
  AREA_ANON_PRIVATE,
  AREA_FILE_PRIVATE,
  AREA_FILE_SHARED,
  AREA_VSYSCALL,
  MAP_ANONYMOUS,
  PAGE_SIZE,
  changedArea,
} from '@forkpoint/image';
import type { PageRun, vma_entry } from '@forkpoint/image';
import { chunkHeaders } from './chunks.ts';
import type { PagesReader, Run } from './chunks.ts';
import type { Note } from './note.ts';
import { cutOut, runsWithin } from './pieces.ts';
import { reasonAgainst } from './policy.ts';
import type { ProcessFacts, Reason } from './policy.ts';
import { cutRun, equalStretches } from './share.ts';
import type { MappedRun, Mapping, ParentMemory } from './share.ts';

/** The memory of one process, linked. */
export interface LinkedMemory {
  readonly areas: readonly vma_entry[];
  /** Runs that stay in CRIU's pages file, by address. */
  readonly left: readonly Run[];
  /** Runs that are mapped, by address. */
  readonly mapped: readonly MappedRun[];
  readonly report: LinkReport;
}

/** Why pages were kept. */
export type KeptFor = Reason | 'short' | 'chunk' | 'changed' | 'note';

/** What was linked of a process and what not, in pages. */
export interface LinkReport {
  readonly pages: number;
  readonly linked: number;
  /** Of the linked pages, those that are mapped from the parent's page file. */
  readonly shared: number;
  /** Linked runs, each of which is a mapping. */
  readonly mappings: number;
  readonly kept: Readonly<Partial<Record<KeptFor, number>>>;
  /** Shortest run that was linked, in pages. */
  readonly threshold: number;
}

/** How a process is linked. */
export interface ProcessOptions {
  /** Id of its page file in files.img. */
  readonly fileId: number;
  /** Shortest run that is linked, in pages. */
  readonly threshold: number;
  readonly read: PagesReader;
  /** What the shim has noted in it: its page stays a copy, since every image has to write it. */
  readonly note?: Pick<Note, 'page' | 'chunks'> | null;
  /** What its parent maps: pages that are equal there and here stay shared. */
  readonly parent?: ParentMemory;
  /** Changes of mapped file in address order that a restore bears; CHANGES_MAX when absent. */
  readonly changesMax?: number;
}

/** Advice of madvise(2) by bit: without MADV_RANDOM the kernel reads around each fault, and a cold restore pulls in nearly everything. */
const MADV_RANDOM = 1n << 1n;
const MADV_HUGEPAGE = 1n << 14n;
/** O_RDONLY | O_LARGEFILE: private mappings of a file opened for reading may still be written. */
const OPEN_FLAGS = 0x8000;
/** Every mapping is an area that a restore has to make, 5 to 10 microseconds each. */
const MAPPINGS_MAX = 6000;
/**
 * CRIU keeps one descriptor for each change of mapped file in address order (criu/files-reg.c, open_filemap): with more
 * of them a restore meets the hard limit of open files.
 */
export const CHANGES_MAX = 8000;

interface Piece {
  readonly area: vma_entry;
  readonly runs: readonly Run[];
  /** Pages that are kept by themselves, and why. */
  readonly alone: ReadonlyMap<number, KeptFor>;
  readonly reason: Reason | null;
  /** By index of the run: what equals the parent's memory. */
  readonly stretches: readonly (readonly MappedRun[])[];
}

/** A piece with its runs cut into what is mapped and what is kept. */
interface Cut {
  readonly area: vma_entry;
  readonly mappings: readonly Mapping[];
  readonly kept: readonly (readonly [why: KeptFor, run: Run])[];
}

/**
 * Turns stored pages of a process into mappings of the page file with id `fileId`. Runs shorter than `threshold` pages,
 * and what the policy excludes, stay. The threshold rises until mappings and changes of file are bearable.
 */
export function linkProcess(
  areas: readonly vma_entry[],
  runs: readonly PageRun[],
  facts: ProcessFacts,
  options: ProcessOptions,
): LinkedMemory {
  const pieces = piecesOf(areas, runs, facts, options);
  let { threshold } = options;
  const cutAll = (pagesMin: number): Cut[] => pieces.map((piece) => cut(piece, pagesMin, options.fileId));
  let cuts = cutAll(threshold);
  while (!isBearable(cuts, options.changesMax ?? CHANGES_MAX)) {
    threshold *= 2;
    cuts = cutAll(threshold);
  }
  const mapped = cuts.flatMap(({ mappings }) => mappings);
  const kept = cuts.flatMap((one) => one.kept);
  const changed = mapped.flatMap(({ differing }) => differing);
  const left = [...kept.map(([, run]) => run), ...changed].sort((a, b) => a.address - b.address);
  const pages = runs.reduce((sum, run) => sum + (run.firstPage === undefined ? 0 : run.pageCount), 0);
  const linked = pagesOf(mapped) - pagesOf(changed);
  // A page that is neither mapped nor kept would come back as zeros.
  if (linked + pagesOf(left) !== pages)
    throw new RangeError(`${pages} pages are stored and ${linked + pagesOf(left)} belong to an area`);
  const shared = mapped.filter(({ fileId }) => fileId !== options.fileId);
  const counts: Partial<Record<KeptFor, number>> = {};
  for (const [why, run] of kept) counts[why] = (counts[why] ?? 0) + run.pages;
  if (changed.length > 0) counts.changed = pagesOf(changed);
  return {
    areas: cuts.flatMap(areasOf),
    left,
    mapped,
    report: {
      pages,
      linked,
      shared: pagesOf(shared) - pagesOf(shared.flatMap(({ differing }) => differing)),
      mappings: mapped.length,
      kept: counts,
      threshold,
    },
  };
}

function piecesOf(
  areas: readonly vma_entry[],
  runs: readonly PageRun[],
  facts: ProcessFacts,
  { read, parent, note }: ProcessOptions,
): Piece[] {
  const limits = limitsOf(areas);
  let next = 0;
  const found = areas.map((area, i) => {
    const reason = reasonAgainst(area, facts);
    // The vsyscall page lies above every number, and guards lie over other areas: neither has pages of its own.
    if (reason === 'guard' || (area.status & AREA_VSYSCALL) !== 0)
      return { area, reason, runs: [], limit: 0, mayHoldChunks: false };
    const within = runsWithin(runs, area, next);
    next = within.next;
    const mayHoldChunks = reason === null && (area.status & AREA_ANON_PRIVATE) !== 0;
    return { area, reason, runs: within.inside, limit: limits[i] ?? 0, mayHoldChunks };
  });
  const headers = chunkHeaders(
    found.filter(({ mayHoldChunks }) => mayHoldChunks),
    read,
    note?.chunks ?? null,
  );
  const alone = new Map<number, KeptFor>([...headers].map((page) => [page, 'chunk']));
  if (note) alone.set(note.page, 'note');
  const sorted = [...alone.keys()].sort((a, b) => a - b);
  return found.map(({ area, reason, runs: inside }) => {
    const pieces = cutOut(inside, sorted);
    const isShared = parent !== undefined && reason === null;
    const stretches = isShared ? pieces.map((run) => equalStretches(run, parent, read)) : [];
    return { area, runs: pieces, alone, reason, stretches };
  });
}

/**
 * Returns for each area where the private memory ends that it belongs to. What was one area before a restore may be
 * several since, of which the first holds the header of a chunk that reaches over all of them.
 */
export function limitsOf(areas: readonly vma_entry[]): number[] {
  const limits: number[] = [];
  for (let i = areas.length - 1; i >= 0; i--) {
    const area = areas[i];
    const behind = areas[i + 1];
    if (area === undefined || (area.status & AREA_VSYSCALL) !== 0) continue;
    const goesOn = behind !== undefined && behind.start === area.end && isPrivate(area) && isPrivate(behind);
    limits[i] = goesOn ? (limits[i + 1] ?? Number(area.end)) : Number(area.end);
  }
  return limits;
}

function isPrivate({ status }: vma_entry): boolean {
  return (status & AREA_VSYSCALL) === 0 && (status & (AREA_ANON_PRIVATE | AREA_FILE_PRIVATE)) !== 0;
}

function cut(piece: Piece, threshold: number, fileId: number): Cut {
  const mappings: Mapping[] = [];
  const kept: [KeptFor, Run][] = [];
  piece.runs.forEach((run, i) => {
    const why = piece.reason ?? piece.alone.get(run.address);
    if (why !== undefined) kept.push([why, run]);
    else {
      const done = cutRun(run, piece.stretches[i] ?? [], threshold, fileId);
      mappings.push(...done.mappings);
      kept.push(...done.kept.map((one) => ['short', one] as [KeptFor, Run]));
    }
  });
  return { area: piece.area, mappings, kept };
}

function isBearable(cuts: readonly Cut[], changesMax: number): boolean {
  const mappings = cuts.reduce((sum, one) => sum + one.mappings.length, 0);
  // What was there before cannot be made less.
  if (mappings === 0) return true;
  return mappings <= MAPPINGS_MAX && changesOfFile(cuts) <= changesMax;
}

/** Counts the places where the next mapped file in address order is another one, or is opened otherwise. */
function changesOfFile(cuts: readonly Cut[]): number {
  let changes = 0;
  let last = '';
  const see = (file: string): void => {
    if (file !== last) changes++;
    last = file;
  };
  for (const { area, mappings } of cuts) {
    const isFile = (area.status & (AREA_FILE_PRIVATE | AREA_FILE_SHARED)) !== 0;
    const own = `${area.shmid}:${area.fdflags}`;
    let cursor = Number(area.start);
    for (const { address, pages, fileId } of mappings) {
      if (isFile && address > cursor) see(own);
      see(`${fileId}:${OPEN_FLAGS}`);
      cursor = address + pages * PAGE_SIZE;
    }
    if (isFile && (area.status & AREA_VSYSCALL) === 0 && cursor < Number(area.end)) see(own);
  }
  return changes;
}

function areasOf({ area, mappings }: Cut): vma_entry[] {
  if (mappings.length === 0) return [area];
  const areas: vma_entry[] = [];
  let cursor = Number(area.start);
  for (const run of mappings) {
    if (run.address > cursor) areas.push(part(area, cursor, run.address));
    cursor = run.address + run.pages * PAGE_SIZE;
    areas.push(mappedArea(area, run));
  }
  if (cursor < Number(area.end)) areas.push(part(area, cursor, Number(area.end)));
  return areas;
}

/** A part of an area as it was. */
function part(area: vma_entry, start: number, end: number): vma_entry {
  const skipped = BigInt(start) - area.start;
  return changedArea(area, {
    start: BigInt(start),
    end: BigInt(end),
    pgoff: (area.status & AREA_FILE_PRIVATE) === 0 ? area.pgoff : area.pgoff + skipped,
  });
}

/** A part of an area as a private mapping of a page file. */
function mappedArea(area: vma_entry, run: MappedRun): vma_entry {
  return changedArea(area, {
    start: BigInt(run.address),
    end: BigInt(run.address + run.pages * PAGE_SIZE),
    status: (area.status & ~AREA_ANON_PRIVATE) | AREA_FILE_PRIVATE,
    flags: area.flags & ~MAP_ANONYMOUS,
    shmid: BigInt(run.fileId),
    pgoff: BigInt(run.offset),
    fdflags: OPEN_FLAGS,
    madv: (area.madv & ~MADV_HUGEPAGE) | MADV_RANDOM,
  });
}

function pagesOf(runs: readonly Run[]): number {
  return runs.reduce((sum, { pages }) => sum + pages, 0);
}
