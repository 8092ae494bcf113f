import {
  AREA_ANON_PRIVATE,
  create,
  KINDS,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PAGE_PRESENT,
  PAGE_SIZE,
} from '@forkpoint/image';
import type { PageRun, vma_entry } from '@forkpoint/image';
import fc from 'fast-check';
import type { PagesReader, ProcessFacts, Run } from '../src/index.ts';

/** Facts of a process that has the shim loaded and its stack elsewhere. */
export const WITH_SHIM: ProcessFacts = {
  stackPointers: [],
  shown: [],
  hasShim: true,
  hasOwnCalls: false,
  mayExecute: true,
  // The file of the file mappings below.
  steadyFiles: new Set([7]),
};

/** A pages file of zeros. */
export const zeros: PagesReader = (_offset, length) => new Uint8Array(length);

/** Bytes of a number of pages. */
export function bytes(pages: number): number {
  return pages * PAGE_SIZE;
}

/** A private anonymous area of `pages` pages at page number `page`; any field may be different. */
export function area(
  page: number,
  pages: number,
  changes: Partial<Omit<vma_entry, '$typeName'>> = {},
): vma_entry {
  const start = BigInt(bytes(page));
  const { vmas } = create(KINDS.mm.schema(), {
    vmas: [
      {
        start,
        end: start + BigInt(bytes(pages)),
        pgoff: 0n,
        shmid: 0n,
        prot: 3,
        flags: MAP_PRIVATE | MAP_ANONYMOUS,
        status: AREA_ANON_PRIVATE,
        fd: -1n,
        ...changes,
      },
    ],
  });
  const made = vmas[0];
  if (made === undefined) throw new Error('no area was made');
  return made;
}

/** Stored runs as CRIU writes them: by page number and count; a count below zero is a hole that is not in the pages file. */
export function stored(...pieces: readonly (readonly [page: number, pages: number])[]): PageRun[] {
  let firstPage = 0;
  return pieces.map(([page, pages]) => {
    const isStored = pages > 0;
    const run = {
      address: bytes(page),
      pageCount: Math.abs(pages),
      flags: isStored ? PAGE_PRESENT : 0,
      firstPage: isStored ? firstPage : undefined,
    };
    if (isStored) firstPage += pages;
    return run;
  });
}

/** A run by page numbers. */
export function run(page: number, pages: number, filePage: number): Run {
  return { address: bytes(page), pages, offset: bytes(filePage) };
}

/** What is stored for each page: its number and its page of the file. */
export function placesOf(runs: readonly Run[]): Map<number, number> {
  const places = new Map<number, number>();
  for (const { address, pages, offset } of runs) {
    for (let i = 0; i < pages; i++) places.set(address / PAGE_SIZE + i, offset / PAGE_SIZE + i);
  }
  return places;
}

/** A memory: areas in address order and the stored runs in them, which may reach across areas that touch. */
export interface Memory {
  readonly areas: readonly vma_entry[];
  readonly runs: readonly PageRun[];
}

/** Arbitrary memories of up to 12 areas. */
export function memories(): fc.Arbitrary<Memory> {
  const piece = fc.record({
    gap: fc.nat(3),
    cells: fc.array(fc.boolean(), { minLength: 1, maxLength: 40 }),
    kind: fc.constantFrom('plain', 'plain', 'executable', 'file'),
  });
  return fc
    .record({
      pieces: fc.array(piece, { minLength: 1, maxLength: 12 }),
      cuts: fc.array(fc.nat(500), { maxLength: 20 }),
    })
    .map(({ pieces, cuts }) => build(pieces, new Set(cuts)));
}

const FILE_PRIVATE = 1 << 6;

function build(
  pieces: readonly { gap: number; cells: readonly boolean[]; kind: string }[],
  cuts: ReadonlySet<number>,
): Memory {
  const areas: vma_entry[] = [];
  const runs: [number, number][] = [];
  let page = 16;
  for (const { gap, cells, kind } of pieces) {
    page += gap;
    areas.push(
      area(page, cells.length, {
        ...(kind === 'executable' ? { prot: 7 } : {}),
        ...(kind === 'file' ? { status: FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 7n, pgoff: 0x10_000n } : {}),
      }),
    );
    for (const isStored of cells) {
      const last = runs.at(-1);
      // CRIU may write one entry over two areas that touch, and several for neighbours.
      if (isStored && last !== undefined && last[0] + last[1] === page && !cuts.has(page)) last[1]++;
      else if (isStored) runs.push([page, 1]);
      page++;
    }
  }
  return { areas, runs: stored(...runs) };
}
