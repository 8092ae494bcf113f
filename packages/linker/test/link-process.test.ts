import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import {
  AREA_ANON_PRIVATE,
  AREA_FILE_PRIVATE,
  MAP_ANONYMOUS,
  MAP_PRIVATE,
  PAGE_SIZE,
} from '@forkpoint/image';
import type { vma_entry } from '@forkpoint/image';
import fc from 'fast-check';
import { linkProcess } from '../src/index.ts';
import type { LinkedMemory, Run } from '../src/index.ts';
import { area, bytes, memories, placesOf, run, stored, WITH_SHIM, zeros } from './memory.ts';
import type { Memory } from './memory.ts';

const FILE = 77;

function linked({ areas, runs }: Memory, threshold: number): LinkedMemory {
  return linkProcess(areas, runs, WITH_SHIM, { fileId: FILE, threshold, read: zeros });
}

function isLinked(one: vma_entry): boolean {
  return (one.status & AREA_FILE_PRIVATE) !== 0 && Number(one.shmid) === FILE;
}

function mappedRuns(memory: LinkedMemory): Run[] {
  return memory.areas.filter(isLinked).map(({ start, end, pgoff }) => ({
    address: Number(start),
    pages: Number(end - start) / PAGE_SIZE,
    offset: Number(pgoff),
  }));
}

describe('linkProcess', () => {
  test('maps long runs, keeps short ones, and leaves the rest of the area as it was', () => {
    const { areas, left, report } = linked({ areas: [area(16, 32)], runs: stored([18, 8], [30, 7]) }, 8);
    assert.deepEqual(
      areas.map((one) => [Number(one.start) / PAGE_SIZE, Number(one.end) / PAGE_SIZE, isLinked(one)]),
      [
        [16, 18, false],
        [18, 26, true],
        [26, 48, false],
      ],
    );
    assert.deepEqual(left, [run(30, 7, 8)]);
    assert.deepEqual(report, {
      pages: 15,
      linked: 8,
      shared: 0,
      mappings: 1,
      kept: { short: 7 },
      threshold: 8,
    });
  });

  test('a linked area is a private, writable mapping that is not read ahead', () => {
    const { areas } = linked({ areas: [area(16, 8, { madv: 0n })], runs: stored([16, 8]) }, 8);
    const [one] = areas;
    assert.equal(one?.prot, 3);
    assert.equal(one?.flags, MAP_PRIVATE);
    assert.equal((one?.status ?? 0) & AREA_ANON_PRIVATE, 0);
    assert.equal(one?.madv, 2n);
  });

  test('the rest of a file mapping keeps showing its own part of the file', () => {
    const file = area(16, 20, { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 7n, pgoff: 0x5000n });
    const { areas } = linked({ areas: [file], runs: stored([20, 8]) }, 8);
    assert.deepEqual(
      areas.map(({ shmid, pgoff }) => [Number(shmid), Number(pgoff)]),
      [
        [7, 0x5000],
        [FILE, 0],
        [7, 0x5000 + bytes(12)],
      ],
    );
  });

  test('the threshold rises until the mappings are bearable', () => {
    const pieces = Array.from({ length: 9000 }, (_, i) => [16 + 4 * i, i % 3 === 0 ? 2 : 1] as const);
    const { report } = linked({ areas: [area(16, 40_000)], runs: stored(...pieces) }, 1);
    assert.equal(report.threshold, 2);
    assert.equal(report.mappings, 3000);
    assert.ok(report.mappings <= 6000);
  });

  test('the first page of a glibc chunk stays by itself', () => {
    const page = 0x7f00_0000_0000 / PAGE_SIZE;
    const header = new Uint8Array(PAGE_SIZE);
    new DataView(header.buffer).setBigUint64(8, BigInt(bytes(20)) | 2n, true);
    const { left, report } = linkProcess([area(page, 20)], stored([page, 20]), WITH_SHIM, {
      fileId: FILE,
      threshold: 8,
      read: (offset, length) => (offset === 0 ? header.subarray(0, length) : new Uint8Array(length)),
    });
    assert.deepEqual(left, [run(page, 1, 0)]);
    assert.deepEqual(report.kept, { chunk: 1 });
    assert.equal(report.linked, 19);
  });

  test('the threshold rises until a restore has descriptors enough for the changes of file', () => {
    // Written runs of a library: each is a change to the page file and one back.
    const pieces = Array.from({ length: 200 }, (_, i) => [16 + 8 * i, i % 2 === 0 ? 4 : 1] as const);
    const library = area(16, 1600, { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 7n });
    const changes = (most: number): number[] => {
      const { areas, report } = linkProcess([library], stored(...pieces), WITH_SHIM, {
        fileId: FILE,
        threshold: 1,
        read: zeros,
        changesMax: most,
      });
      const files = areas.map(({ shmid }) => shmid);
      return [report.threshold, files.filter((file, i) => file !== files[i - 1]).length];
    };
    assert.deepEqual(changes(8000), [1, 400]);
    assert.deepEqual(changes(300), [2, 200]);
    assert.deepEqual(changes(100), [8, 1]);
  });

  test('a chunk that reaches over the areas which a restore made of one is known by its first page', () => {
    const page = 0x7f00_0000_0000 / PAGE_SIZE;
    const header = new Uint8Array(PAGE_SIZE);
    new DataView(header.buffer).setBigUint64(8, BigInt(bytes(20)) | 2n, true);
    const layer = { status: AREA_FILE_PRIVATE, flags: MAP_PRIVATE, shmid: 7n };
    const { report } = linkProcess([area(page, 1), area(page + 1, 19, layer)], stored([page, 1]), WITH_SHIM, {
      fileId: FILE,
      threshold: 1,
      read: (_offset, length) => header.subarray(0, length),
    });
    assert.deepEqual(report.kept, { chunk: 1 });
  });

  test('a stored page outside of all areas is an error: it would come back as zeros', () => {
    assert.throws(() => linked({ areas: [area(16, 4)], runs: stored([16, 5]) }, 1), RangeError);
  });

  test('whatever the memory: each stored page is mapped from its place or kept, once; areas cover what they covered', () => {
    fc.assert(
      fc.property(memories(), fc.constantFrom(1, 2, 8), (memory, threshold) => {
        const result = linked(memory, threshold);
        const places = placesOf(
          memory.runs.map((one) => run(one.address / PAGE_SIZE, one.pageCount, one.firstPage ?? -1)),
        );
        const both = [...placesOf(mappedRuns(result)), ...placesOf(result.left)].sort((a, b) => a[0] - b[0]);
        assert.deepEqual(both, [...places]);
        assert.deepEqual(spans(result.areas), spans(memory.areas));
        assert.ok(result.left.every((one, i) => i === 0 || one.address > (result.left[i - 1]?.address ?? 0)));
        assert.equal(
          result.report.linked + result.left.reduce((sum, { pages }) => sum + pages, 0),
          result.report.pages,
        );
        assert.equal(result.report.mappings, result.areas.filter(isLinked).length);
        for (const one of mappedRuns(result)) assert.ok(one.pages >= threshold);
      }),
      { numRuns: 300 },
    );
  });

  test('nothing else about an area changes: protection, other flags, other advice', () => {
    fc.assert(
      fc.property(memories(), (memory) => {
        for (const one of linked(memory, 1).areas) {
          const before = memory.areas.find(({ start, end }) => start <= one.start && one.end <= end);
          assert.equal(one.prot, before?.prot);
          assert.equal(one.flags | MAP_ANONYMOUS, (before?.flags ?? 0) | MAP_ANONYMOUS);
        }
      }),
    );
  });
});

/** What areas cover, page by page, with the protection: neighbours that are alike join. */
function spans(areas: readonly vma_entry[]): string[] {
  return areas.flatMap(({ start, end, prot }) => {
    const pages: string[] = [];
    for (let at = start; at < end; at += BigInt(PAGE_SIZE)) pages.push(`${at}:${prot}`);
    return pages;
  });
}
