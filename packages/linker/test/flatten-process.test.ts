import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AREA_FILE_PRIVATE, MAP_PRIVATE, PAGE_SIZE } from '@forkpoint/image';
import type { vma_entry } from '@forkpoint/image';
import fc from 'fast-check';
import { Collage, flattenProcess, uncovered } from '../src/index.ts';
import type { Extent, FlatMemory, MappedSegment, Segment, StoredMemory } from '../src/index.ts';
import { area, bytes, stored, WITH_SHIM } from './memory.ts';

const FLAT = 900;
const LAYERS: Readonly<Record<number, string>> = { 101: 'layers/old.pages', 102: 'layers/new.pages' };
const LAYER_BYTES = bytes(4096);

interface Piece {
  readonly gap: number;
  readonly pages: number;
  readonly kind: 'plain' | 101 | 102 | 'executable' | 'file';
  /** Where in the layer the piece begins, in pages. */
  readonly at: number;
  /** Pages that lie in CRIU's own pages file, by number modulo the length. */
  readonly dirty: readonly boolean[];
}

const pieces = fc.array(
  fc.record({
    gap: fc.constantFrom(0, 0, 0, 2),
    pages: fc.integer({ min: 1, max: 24 }),
    kind: fc.constantFrom<Piece['kind']>('plain', 101, 101, 102, 'executable', 'file'),
    at: fc.nat(200),
    dirty: fc.array(fc.boolean(), { minLength: 1, maxLength: 9 }),
  }),
  { minLength: 1, maxLength: 12 },
);

function memoryOf(list: readonly Piece[], facts = WITH_SHIM): StoredMemory {
  const areas: vma_entry[] = [];
  const runs: [number, number][] = [];
  let page = 16;
  for (const { gap, pages, kind, at, dirty } of list) {
    page += gap;
    const mapped = { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE };
    areas.push(
      area(page, pages, {
        ...(kind === 'executable' ? { prot: 7 } : {}),
        ...(kind === 'file' ? { ...mapped, shmid: 7n, pgoff: 0x10_000n } : {}),
        ...(typeof kind === 'number'
          ? { ...mapped, shmid: BigInt(kind), pgoff: BigInt(bytes(at)), madv: 2n }
          : {}),
      }),
    );
    for (let i = 0; i < pages; i++) if (dirty[i % dirty.length] === true) runs.push([page + i, 1]);
    page += pages;
  }
  return {
    areas,
    runs: stored(...runs),
    pages: 'pages-1.img',
    layerOf: (id) => {
      const name = LAYERS[id];
      return name === undefined ? undefined : { name, size: LAYER_BYTES };
    },
    facts,
  };
}

/** Reads pages that are all different and hold no header of a chunk. */
const read = (extents: readonly Extent[]): Uint8Array =>
  new Uint8Array(extents.reduce((sum, { length }) => sum + length, 0)).fill(1);

function flat(
  memory: StoredMemory,
  options: { threshold?: number; parent?: readonly MappedSegment[]; fileId?: number } = {},
): FlatMemory {
  const { threshold = 8, parent = [], fileId = FLAT } = options;
  return flattenProcess(memory, { fileId, threshold, read, parent });
}

/** What each page shows after a restore: file and page of the file. */
function shownBefore({ areas, runs, layerOf }: StoredMemory): Map<number, string> {
  const shown = new Map<number, string>();
  for (const one of areas) {
    const layer = layerOf(Number(one.shmid));
    if (layer === undefined || (one.status & AREA_FILE_PRIVATE) === 0) continue;
    fill(shown, one, layer.name, Number(one.pgoff));
  }
  for (const { address, firstPage = 0 } of runs) shown.set(address / PAGE_SIZE, `pages-1.img ${firstPage}`);
  return shown;
}

/** `files` are the extents of new page files by id. */
function shownAfter(result: FlatMemory, files: ReadonlyMap<number, readonly Extent[]>): Map<number, string> {
  const shown = new Map<number, string>();
  for (const one of result.areas) {
    const extents = (one.status & AREA_FILE_PRIVATE) === 0 ? undefined : files.get(Number(one.shmid));
    if (extents === undefined) continue;
    const first = Number(one.pgoff) / PAGE_SIZE;
    const count = Number(one.end - one.start) / PAGE_SIZE;
    for (const [i, page] of pagesOf(extents)
      .slice(first, first + count)
      .entries())
      shown.set(Number(one.start) / PAGE_SIZE + i, page);
  }
  const left = pagesOf(result.leftExtents);
  for (const { address, pages } of result.left)
    for (let i = 0; i < pages; i++) shown.set(address / PAGE_SIZE + i, left.shift() ?? 'nothing');
  assert.equal(left.length, 0);
  return shown;
}

function pagesOf(extents: readonly Extent[]): string[] {
  return extents.flatMap(({ file, offset, length }) =>
    Array.from({ length: length / PAGE_SIZE }, (_, i) => `${file} ${offset / PAGE_SIZE + i}`),
  );
}

function fill(shown: Map<number, string>, one: vma_entry, file: string, offset: number): void {
  for (let i = 0; i < Number(one.end - one.start) / PAGE_SIZE; i++)
    shown.set(Number(one.start) / PAGE_SIZE + i, `${file} ${offset / PAGE_SIZE + i}`);
}

function sorted(shown: ReadonlyMap<number, string>): [number, string][] {
  return [...shown].sort((a, b) => a[0] - b[0]);
}

/** What areas cover, page by page, with the protection: neighbours that are alike join. */
function spans(areas: readonly vma_entry[]): string[] {
  return areas.flatMap(({ start, end, prot }) =>
    Array.from(
      { length: Number(end - start) / PAGE_SIZE },
      (_, i) => `${Number(start) / PAGE_SIZE + i}:${prot}`,
    ),
  );
}

describe('flattenProcess', () => {
  test('what two generations cut into pieces is one mapping again, with the changed pages in their places', () => {
    const memory = memoryOf([
      { gap: 0, pages: 16, kind: 101, at: 0, dirty: [false, true] },
      { gap: 0, pages: 8, kind: 102, at: 50, dirty: [false] },
      { gap: 0, pages: 8, kind: 101, at: 24, dirty: [false] },
    ]);
    const { areas, extents, left, report } = flat(memory);
    assert.deepEqual(
      areas.map(({ start, end, shmid, pgoff }) => [Number(start), Number(end), Number(shmid), Number(pgoff)]),
      [[bytes(16), bytes(48), FLAT, 0]],
    );
    assert.deepEqual([left.length, report.mappings], [0, 1]);
    assert.deepEqual(pagesOf(extents).slice(0, 3), [
      'layers/old.pages 0',
      'pages-1.img 0',
      'layers/old.pages 2',
    ]);
    assert.equal(pagesOf(extents).length, 32);
  });

  test('whatever the memory: every page shows what it showed, areas cover what they covered, the file is dense', () => {
    fc.assert(
      fc.property(pieces, fc.constantFrom(1, 4, 8), fc.boolean(), (list, threshold, hasShim) => {
        const memory = memoryOf(list, { ...WITH_SHIM, hasShim });
        const result = flat(memory, { threshold });
        assert.deepEqual(
          sorted(shownAfter(result, new Map([[FLAT, result.extents]]))),
          sorted(shownBefore(memory)),
        );
        assert.deepEqual(spans(result.areas), spans(memory.areas));
        assert.ok(result.areas.every(({ shmid }) => LAYERS[Number(shmid)] === undefined));
        const mapped = result.areas
          .filter(({ shmid, status }) => (status & AREA_FILE_PRIVATE) !== 0 && Number(shmid) === FLAT)
          .reduce((sum, { start, end }) => sum + Number(end - start), 0);
        assert.equal(
          result.extents.reduce((sum, { length }) => sum + length, 0),
          mapped,
        );
      }),
      { numRuns: 300 },
    );
  });

  test('a flat image stays as it is when it is flattened again', () => {
    fc.assert(
      fc.property(pieces, (list) => {
        // A changed part of a file's mapping joins its neighbours only when it has been linked.
        const memory = memoryOf(
          list.map((piece) => ({ ...piece, kind: piece.kind === 'file' ? 'plain' : piece.kind })),
        );
        const once = flat(memory);
        let firstPage = 0;
        const runs = once.left.map(({ address, pages }) => {
          const run = { address, pageCount: pages, flags: 4, firstPage };
          firstPage += pages;
          return run;
        });
        const size = once.extents.reduce((sum, { length }) => sum + length, 0);
        const layerOf = (id: number) => (id === FLAT ? { name: 'layers/flat.pages', size } : undefined);
        const twice = flat({ ...memory, areas: once.areas, runs, layerOf }, { fileId: FLAT + 1 });
        assert.equal(twice.report.mappings, once.report.mappings);
        assert.deepEqual(twice.left.length, once.left.length);
      }),
    );
  });

  test('a child maps what it has in common with its parent from the parent’s file, at the same address', () => {
    fc.assert(
      fc.property(pieces, fc.array(fc.boolean(), { minLength: 1, maxLength: 5 }), (list, dirty) => {
        const parent = flat(memoryOf(list));
        const memory = memoryOf(list.map((piece) => ({ ...piece, dirty })));
        const child = flat(memory, { parent: parent.mapped, fileId: FLAT + 1 });
        const files = new Map([
          [FLAT, parent.extents],
          [FLAT + 1, child.extents],
        ]);
        // Both pages files have the same name here, but the child's changed pages are its own.
        const own = (shown: ReadonlyMap<number, string>) =>
          sorted(shown).map(([page, what]) => [page, what.startsWith('layers/') ? what : 'changed']);
        assert.deepEqual(own(shownAfter(child, files)), own(shownBefore(memory)));
        for (const one of child.areas) {
          if (Number(one.shmid) !== FLAT) continue;
          const theirs = parent.areas.find(({ start, end }) => start <= one.start && one.start < end);
          assert.equal(theirs?.shmid, BigInt(FLAT));
          assert.equal(one.pgoff - one.start, (theirs?.pgoff ?? 0n) - (theirs?.start ?? 0n));
        }
      }),
    );
  });

  test('a child that changed nothing needs no page file', () => {
    const memory = memoryOf([{ gap: 0, pages: 24, kind: 101, at: 3, dirty: [false] }]);
    const parent = flat(memory);
    assert.deepEqual(flat(memory, { parent: parent.mapped, fileId: FLAT + 1 }).extents, []);
  });

  test('the end of a page file is the end of what is mapped: nothing is read past it', () => {
    const memory = memoryOf([{ gap: 0, pages: 24, kind: 101, at: 4096 - 10, dirty: [false] }]);
    assert.equal(pagesOf(flat(memory).extents).length, 10);
  });

  test('where there is no shim only what was linked before is linked', () => {
    const memory = memoryOf(
      [
        { gap: 0, pages: 16, kind: 'plain', at: 0, dirty: [true] },
        { gap: 0, pages: 16, kind: 101, at: 0, dirty: [false] },
      ],
      { ...WITH_SHIM, hasShim: false },
    );
    const { report } = flat(memory);
    assert.deepEqual([report.linked, report.kept], [16, { 'no-preload': 16 }]);
  });
});

describe('Collage', () => {
  const segments: Segment[] = [
    { address: bytes(1), pages: 2, file: 'a', offset: bytes(5) },
    { address: bytes(3), pages: 1, file: 'b', offset: 0 },
    { address: bytes(9), pages: 3, file: 'b', offset: bytes(1) },
  ];

  test('says what a range consists of, and joins what follows in one file', () => {
    const collage = new Collage(segments, 4);
    assert.deepEqual(collage.extentsOf(bytes(1), bytes(3)), [
      { file: 'a', offset: bytes(6), length: bytes(1) },
      { file: 'b', offset: 0, length: bytes(2) },
    ]);
    assert.throws(() => collage.extentsOf(bytes(5), bytes(2)), RangeError);
  });

  test('what lies above hides what lies below', () => {
    const above: Segment[] = [{ address: bytes(2), pages: 8, file: 'c', offset: 0 }];
    assert.deepEqual(
      uncovered(segments, above).map(({ address, pages, offset }) => [address, pages, offset]),
      [
        [bytes(1), 1, bytes(5)],
        [bytes(10), 2, bytes(2)],
      ],
    );
  });
});
