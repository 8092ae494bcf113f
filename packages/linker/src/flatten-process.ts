import {
  AREA_ANON_PRIVATE,
  AREA_FILE_PRIVATE,
  AREA_GUARD,
  AREA_HEAP,
  AREA_VSYSCALL,
  changedArea,
  MAP_ANONYMOUS,
  PAGE_PRESENT,
  PAGE_SIZE,
} from '@forkpoint/image';
import type { PageRun, vma_entry } from '@forkpoint/image';
import type { PagesReader } from './chunks.ts';
import type { Note } from './note.ts';
import { linkProcess } from './link-process.ts';
import type { LinkedMemory } from './link-process.ts';
import { reasonAgainst } from './policy.ts';
import type { ProcessFacts } from './policy.ts';
import { Collage, push, slice, uncovered } from './segments.ts';
import type { Extent, Segment } from './segments.ts';

/** The memory of one process as it lies in an image. */
export interface StoredMemory {
  readonly areas: readonly vma_entry[];
  readonly runs: readonly PageRun[];
  /** Name of CRIU's pages file. */
  readonly pages: string;
  /** Name and size in bytes of the page file behind a file id; undefined for other files. */
  readonly layerOf: (fileId: number) => { readonly name: string; readonly size: number } | undefined;
  readonly facts: ProcessFacts;
}

/** The memory of one process on a page file of its own. */
export interface FlatMemory {
  readonly areas: readonly vma_entry[];
  /** What stays in CRIU's pages file: runs by address, and what the file then consists of. */
  readonly left: LinkedMemory['left'];
  readonly leftExtents: readonly Extent[];
  /** What the new page file consists of, one behind the other; empty when it is not needed. */
  readonly extents: readonly Extent[];
  readonly report: LinkedMemory['report'];
  /** What is mapped where: for children, which map what they have in common from the same place. */
  readonly mapped: readonly MappedSegment[];
}

/** Pages of a new page file, with where they come from. */
export interface MappedSegment extends Segment {
  readonly fileId: number;
  /** Offset in bytes into the new page file. */
  readonly target: number;
}

/** Runs in common with the parent that are shorter than this are not worth a mapping of their own. */
const SHARED_MIN_PAGES = 8;
const SHARED_MAX = 2000;
const MADV_RANDOM = 1n << 1n;

/**
 * Puts the pages of a process, wherever they lie, on one new page file in the order of their addresses. What earlier
 * generations cut into pieces becomes whole again, and is then linked as if it had been dumped afresh. Pages that the parent
 * maps from the same place at the same address are mapped from the parent's new page file, so that both still share them.
 */
export function flattenProcess(
  memory: StoredMemory,
  options: {
    readonly fileId: number;
    readonly threshold: number;
    /** Reads from the files that extents name. */
    readonly read: (extents: readonly Extent[]) => Uint8Array;
    readonly parent: readonly MappedSegment[];
    readonly note?: Pick<Note, 'page' | 'chunks'> | null;
  },
): FlatMemory {
  const { areas, segments } = unlinked(memory);
  const collage = new Collage(segments, PAGE_PRESENT);
  const holes = memory.runs.filter((run) => run.firstPage === undefined);
  const runs = [...collage.runs, ...holes].sort((a, b) => a.address - b.address);
  const read: PagesReader = (offset, length) => options.read(collage.extentsOf(offset, length));
  const linked = linkProcess(
    areas,
    runs,
    { ...memory.facts, linkedBefore: new Set(areas.filter((area) => !memory.areas.includes(area))) },
    { fileId: options.fileId, threshold: options.threshold, note: options.note ?? null, read },
  );
  const placed = place(linked.areas, collage, options);
  const leftExtents: Extent[] = [];
  for (const run of linked.left)
    for (const extent of collage.extentsOf(run.offset, run.pages * PAGE_SIZE)) push(leftExtents, extent);
  return { ...placed, left: linked.left, leftExtents, report: linked.report };
}

/** Undoes earlier linking: mappings of page files become anonymous areas with stored pages, and neighbours join. */
function unlinked(memory: StoredMemory): { areas: vma_entry[]; segments: Segment[] } {
  const { pages, runs, layerOf, facts } = memory;
  const own: Segment[] = runs.flatMap(({ address, pageCount, firstPage }) =>
    firstPage === undefined
      ? []
      : [{ address, pages: pageCount, file: pages, offset: firstPage * PAGE_SIZE }],
  );
  const below: Segment[] = [];
  const areas: vma_entry[] = [];
  const mayJoin: boolean[] = [];
  for (const area of memory.areas) {
    const layer = isFilePrivate(area) ? layerOf(Number(area.shmid)) : undefined;
    if (layer !== undefined) below.push(...segmentOf(area, layer));
    const plain = layer === undefined ? area : anonymous(area);
    const last = areas.at(-1);
    // What no shim watches over was a file's once, and its neighbours were not.
    const joins = reasonAgainst(plain, facts) === null && isAnonymous(plain);
    if (last !== undefined && joins && mayJoin.at(-1) === true && areAlike(last, plain))
      areas[areas.length - 1] = changedArea(last, { end: plain.end });
    else {
      areas.push(plain);
      mayJoin.push(joins);
    }
  }
  const segments = [...own, ...uncovered(below, own)].sort((a, b) => a.address - b.address);
  return { areas, segments };
}

/** The pages behind an area; what reaches past the end of the page file cannot have been read by anybody. */
function segmentOf(area: vma_entry, layer: { name: string; size: number }): Segment[] {
  const offset = Number(area.pgoff);
  const length = Math.min(Number(area.end - area.start), layer.size - offset);
  const pages = Math.floor(length / PAGE_SIZE);
  return pages > 0 ? [{ address: Number(area.start), pages, file: layer.name, offset }] : [];
}

function anonymous(area: vma_entry): vma_entry {
  return changedArea(area, {
    status: (area.status & ~AREA_FILE_PRIVATE) | AREA_ANON_PRIVATE,
    flags: area.flags | MAP_ANONYMOUS,
    shmid: 0n,
    pgoff: 0n,
    fdflags: 0,
    madv: area.madv & ~MADV_RANDOM,
  });
}

function isFilePrivate({ status }: vma_entry): boolean {
  return (status & AREA_FILE_PRIVATE) !== 0;
}

function isAnonymous({ status }: vma_entry): boolean {
  return (status & AREA_ANON_PRIVATE) !== 0 && (status & (AREA_GUARD | AREA_VSYSCALL)) === 0;
}

/** Whether the kernel would have had one area instead of two. The mark of the heap says only where brk(2) once was. */
function areAlike(a: vma_entry, b: vma_entry): boolean {
  return (
    a.end === b.start &&
    a.prot === b.prot &&
    a.flags === b.flags &&
    a.madv === b.madv &&
    (a.status | AREA_HEAP) === (b.status | AREA_HEAP)
  );
}

/** Gives each linked area its place in the new page file, which holds what is mapped and nothing else, or in the parent's. */
function place(
  areas: readonly vma_entry[],
  collage: Collage,
  { fileId, parent }: { readonly fileId: number; readonly parent: readonly MappedSegment[] },
): Pick<FlatMemory, 'areas' | 'extents' | 'mapped'> {
  const placed: vma_entry[] = [];
  const extents: Extent[] = [];
  const mapped: MappedSegment[] = [];
  let end = 0;
  const shared = commonWith(parent, areas, collage, fileId);
  let next = 0;
  const map = (area: vma_entry, from: number, to: number, common: MappedSegment | undefined): void => {
    const start = Number(area.start);
    const source = collage.extentsOf(Number(area.pgoff) + from - start, to - from);
    const target = common === undefined ? end : common.target + from - common.address;
    placed.push(
      changedArea(area, {
        start: BigInt(from),
        end: BigInt(to),
        pgoff: BigInt(target),
        shmid: BigInt(common?.fileId ?? fileId),
      }),
    );
    let at = 0;
    for (const { file, offset, length } of source) {
      const segment = { address: from + at, pages: length / PAGE_SIZE, file, offset };
      mapped.push({ ...segment, fileId: common?.fileId ?? fileId, target: target + at });
      at += length;
    }
    if (common !== undefined) return;
    for (const extent of source) push(extents, extent);
    end += to - from;
  };
  for (const area of areas) {
    if (!isFilePrivate(area) || Number(area.shmid) !== fileId) {
      placed.push(area);
      continue;
    }
    let at = Number(area.start);
    for (; next < shared.length; next++) {
      const common = shared[next];
      if (common === undefined || common.address >= Number(area.end)) break;
      if (common.address > at) map(area, at, common.address, undefined);
      at = common.address + common.pages * PAGE_SIZE;
      map(area, common.address, at, common);
    }
    if (at < Number(area.end)) map(area, at, Number(area.end), undefined);
  }
  return { areas: placed, extents, mapped };
}

/**
 * Returns the runs that the parent maps from the same pages of the same file at the same address. Equal addresses are then
 * equal pages, which is what CRIU relies on where parent and child map one file (criu/mem.c, check_cow_vmas).
 */
function commonWith(
  parent: readonly MappedSegment[],
  areas: readonly vma_entry[],
  collage: Collage,
  fileId: number,
): MappedSegment[] {
  const common: MappedSegment[] = [];
  let from = 0;
  for (const area of areas) {
    if (!isFilePrivate(area) || Number(area.shmid) !== fileId) continue;
    let at = Number(area.start);
    for (const { file, offset, length } of collage.extentsOf(
      Number(area.pgoff),
      Number(area.end - area.start),
    )) {
      const end = at + length;
      while (from < parent.length && endOf(parent[from]) <= at) from++;
      for (let i = from; i < parent.length; i++) {
        const theirs = parent[i];
        if (theirs === undefined || theirs.address >= end) break;
        const low = Math.max(at, theirs.address);
        const high = Math.min(end, endOf(theirs));
        const isSame = theirs.file === file && theirs.offset - theirs.address === offset - at;
        if (isSame && high - low >= SHARED_MIN_PAGES * PAGE_SIZE) {
          const target = theirs.target + low - theirs.address;
          common.push({ ...slice(theirs, low, high), fileId: theirs.fileId, target });
        }
      }
      at = end;
    }
  }
  return common.length > SHARED_MAX ? [] : common;
}

function endOf(segment: Segment | undefined): number {
  return segment === undefined ? Number.POSITIVE_INFINITY : segment.address + segment.pages * PAGE_SIZE;
}
