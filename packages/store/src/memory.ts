import type { PageRun, ProcessSummary } from '@forkpoint/image';

/** Reads bytes of a file of an image, by its name in the image directory; fewer at the end of the file. */
export type FileReader = (name: string, offset: number, length: number) => Uint8Array;

/** The memory of one process of an image. */
export interface ProcessMemory {
  readonly process: ProcessSummary;
  /** Stored pages, in order of their addresses. */
  readonly runs: readonly PageRun[];
  /** CRIU's own pages file of the process. */
  readonly pages: string;
  readonly read: FileReader;
}

/** A part of an address space that looks like one to people: linking cuts what was one mapping into many. */
export interface Region {
  readonly start: number;
  readonly end: number;
  readonly kind: string;
  readonly access: string;
  readonly path: string | null;
}

/** Where the bytes of one page are. */
interface Place {
  readonly file: string;
  readonly offset: number;
}

const PAGE = 4096;
/** Pages that are compared at once: 1 MiB. */
const BATCH = 256;

/** Returns the name of a layer in its image when a path leads into the layers of a pod; undefined for other files. */
export function layerOf(path: string | undefined): string | undefined {
  const name = /\/layers\/([A-Za-z0-9][A-Za-z0-9._-]*\.pages)$/.exec(path ?? '')?.[1];
  return name === undefined ? undefined : `layers/${name}`;
}

/** Returns the regions of a process: neighbours of the same access and backing are one. Pure. */
export function regionsOf(process: ProcessSummary): Region[] {
  const regions: Region[] = [];
  for (const area of process.areas) {
    const isLinked = layerOf(area.path) !== undefined;
    // Linked memory is what was heap or anonymous before.
    const kind = isLinked || area.kind === 'heap' || area.kind === 'anon' ? 'memory' : area.kind;
    const path = isLinked ? null : (area.path ?? null);
    const access = `${area.prot & 1 ? 'r' : '-'}${area.prot & 2 ? 'w' : '-'}${area.prot & 4 ? 'x' : '-'}`;
    const last = regions.at(-1);
    if (last?.end === area.start && last.kind === kind && last.path === path && last.access === access)
      regions[regions.length - 1] = { ...last, end: area.end };
    else regions.push({ start: area.start, end: area.end, kind, access, path });
  }
  return regions;
}

/** Returns how many pages of a region differ between two memories; pages that neither has count as equal. Throws system errors. */
export function changedPages(a: ProcessMemory, b: ProcessMemory, start: number, end: number): number {
  const [pagesOfA, pagesOfB] = [placesIn(a, start, end), placesIn(b, start, end)];
  let changed = 0;
  const both: { a: Place; b: Place }[] = [];
  for (const address of new Set([...pagesOfA.keys(), ...pagesOfB.keys()])) {
    const [inA, inB] = [pagesOfA.get(address), pagesOfB.get(address)];
    if (inA === undefined || inB === undefined) {
      const [one, memory] = inA === undefined ? [inB, b] : [inA, a];
      if (one !== undefined && !isZero(memory.read(one.file, one.offset, PAGE))) changed++;
      // One layer at one place is the same bytes: layers never change and their names are unique.
    } else if (!(inA.file.startsWith('layers/') && inA.file === inB.file && inA.offset === inB.offset)) {
      both.push({ a: inA, b: inB });
    }
  }
  for (const run of batches(both)) {
    const [bytesOfA, bytesOfB] = [
      a.read(run.a.file, run.a.offset, run.pages * PAGE),
      b.read(run.b.file, run.b.offset, run.pages * PAGE),
    ];
    for (let at = 0; at < run.pages * PAGE; at += PAGE) {
      const page = Buffer.from(bytesOfA.buffer, bytesOfA.byteOffset + at, PAGE);
      if (page.compare(bytesOfB, at, at + PAGE) !== 0) changed++;
    }
  }
  return changed;
}

function isZero(page: Uint8Array): boolean {
  return page.every((byte) => byte === 0);
}

/** Returns where the pages of a range are stored: what CRIU's own file has lies over what a layer has. */
function placesIn(memory: ProcessMemory, start: number, end: number): Map<number, Place> {
  const places = new Map<number, Place>();
  for (const area of memory.process.areas) {
    const layer = layerOf(area.path);
    if (layer === undefined || area.end <= start || area.start >= end) continue;
    for (let at = Math.max(area.start, start); at < Math.min(area.end, end); at += PAGE)
      places.set(at, { file: layer, offset: area.offset + at - area.start });
  }
  for (const run of memory.runs) {
    const runEnd = run.address + run.pageCount * PAGE;
    if (run.firstPage === undefined || runEnd <= start || run.address >= end) continue;
    for (let at = Math.max(run.address, start); at < Math.min(runEnd, end); at += PAGE)
      places.set(at, { file: memory.pages, offset: run.firstPage * PAGE + at - run.address });
  }
  return places;
}

function* batches(
  pairs: readonly { a: Place; b: Place }[],
): Generator<{ a: Place; b: Place; pages: number }> {
  const follows = (one: Place, next: Place, pages: number): boolean =>
    next.file === one.file && next.offset === one.offset + pages * PAGE;
  let current: { a: Place; b: Place; pages: number } | undefined;
  for (const pair of pairs) {
    const { pages = 0 } = current ?? {};
    if (
      current !== undefined &&
      pages < BATCH &&
      follows(current.a, pair.a, pages) &&
      follows(current.b, pair.b, pages)
    ) {
      current = { ...current, pages: pages + 1 };
      continue;
    }
    if (current !== undefined) yield current;
    current = { ...pair, pages: 1 };
  }
  if (current !== undefined) yield current;
}
