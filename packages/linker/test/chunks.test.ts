import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { PAGE_SIZE } from '@forkpoint/image';
import { chunkHeaders } from '../src/chunks.ts';
import type { MappedChunks, PagesReader, Run } from '../src/index.ts';

const BASE = 0x7f00_0000_0000;

/** A pages file with chunk sizes, flags included, at some pages. */
function fileWith(
  pages: number,
  sizes: Readonly<Record<number, bigint>>,
): { bytes: Uint8Array; read: PagesReader; reads: number[] } {
  const bytes = new Uint8Array(pages * PAGE_SIZE);
  const view = new DataView(bytes.buffer);
  for (const [page, size] of Object.entries(sizes))
    view.setBigUint64(Number(page) * PAGE_SIZE + 8, size, true);
  const reads: number[] = [];
  const read = (offset: number, length: number): Uint8Array => {
    reads.push(length);
    return bytes.subarray(offset, offset + length);
  };
  return { bytes, read, reads };
}

function runAt(page: number, pages: number, filePage = page): Run {
  return { address: BASE + page * PAGE_SIZE, pages, offset: filePage * PAGE_SIZE };
}

const at = (page: number): number => BASE + page * PAGE_SIZE;
const size = (pages: number): bigint => BigInt(pages * PAGE_SIZE) | 2n;

function chunkHeadersOf(runs: readonly Run[], limit: number, read: PagesReader): Set<number> {
  return chunkHeaders([{ runs, limit }], read);
}

describe('chunkHeaders with the number of chunks that glibc counts', () => {
  const counted = (count: number, pages: number): MappedChunks => ({ count, bytes: pages * PAGE_SIZE });

  test('memory is not searched when glibc has no such chunk', () => {
    const { read, reads } = fileWith(6000, {});
    assert.deepEqual(
      [...chunkHeaders([{ runs: [runAt(0, 6000)], limit: at(6000) }], read, counted(0, 0))],
      [],
    );
    assert.deepEqual(
      reads.reduce((sum, length) => sum + length, 0),
      16 + PAGE_SIZE,
      'one look at the first page',
    );
  });

  test('a chunk at the end of a mapping of the program is found without reading all of it', () => {
    const { read, reads } = fileWith(6000, { 5900: size(100) });
    const place = { runs: [runAt(0, 6000)], limit: at(6000) };
    assert.deepEqual([...chunkHeaders([place], read, counted(1, 100))], [at(5900)]);
    assert.ok(reads.reduce((sum, length) => sum + length, 0) < 300 * PAGE_SIZE);
  });

  test('what looks like a chunk at the start and is none does not end the search', () => {
    const { read } = fileWith(9000, { 0: size(3), 100: size(50), 8000: size(700) });
    const place = { runs: [runAt(0, 9000)], limit: at(9000) };
    const found = chunkHeaders([place], read, counted(2, 750));
    assert.ok(found.has(at(100)) && found.has(at(8000)));
  });

  test('chunks are added up over all areas', () => {
    const { read, reads } = fileWith(100, { 0: size(4), 50: size(8) });
    const places = [
      { runs: [runAt(0, 20)], limit: at(20) },
      { runs: [runAt(50, 50)], limit: at(100) },
    ];
    assert.deepEqual([...chunkHeaders(places, read, counted(2, 12))], [at(0), at(50)]);
    assert.ok(reads.length < 10);
  });
});

describe('chunkHeaders', () => {
  test('finds the first page of a chunk and of those that follow it', () => {
    const { read } = fileWith(20, { 0: size(8), 8: size(12) });
    assert.deepEqual([...chunkHeadersOf([runAt(0, 20)], at(20), read)], [at(0), at(8)]);
  });

  test('a chunk is skipped by its size: what looks like a header inside is data', () => {
    const { read, reads } = fileWith(1000, { 0: size(1000), 5: size(2) });
    assert.deepEqual([...chunkHeadersOf([runAt(0, 1000)], at(1000), read)], [at(0)]);
    assert.deepEqual(reads, [16], 'one look at the header');
  });

  test('finds chunks behind memory that is none', () => {
    const { read } = fileWith(600, { 400: size(100) });
    assert.deepEqual([...chunkHeadersOf([runAt(0, 600)], at(600), read)], [at(400)]);
  });

  test('a chunk whose pages are stored in part is still skipped as a whole', () => {
    const { read } = fileWith(10, { 0: size(20), 5: size(2) });
    assert.deepEqual([...chunkHeadersOf([runAt(0, 4), runAt(10, 2, 5)], at(40), read)], [at(0)]);
  });

  test('a size that passes the end of the area, or with other flags, or not in whole pages, is none', () => {
    const others = {
      0: size(11),
      1: BigInt(PAGE_SIZE) | 3n,
      2: BigInt(PAGE_SIZE) | 1n,
      3: 4098n + 16n,
      4: 2n,
      5: -4094n,
    };
    const { read } = fileWith(10, others);
    assert.deepEqual([...chunkHeadersOf([runAt(0, 10)], at(10), read)], []);
  });

  test('finds what memalign cut off at the front: the header stands before the aligned address', () => {
    const aligned = new Uint8Array(40 * PAGE_SIZE);
    const view = new DataView(aligned.buffer);
    const put = (offset: number, before: number, bytes: number): void => {
      view.setBigUint64(offset, BigInt(before), true);
      view.setBigUint64(offset + 8, BigInt(bytes) | 2n, true);
    };
    // By 64 bytes from page 0 on, by a page from 10 on, by four pages from 21 on.
    put(48, 48, 10 * PAGE_SIZE - 48);
    put(10 * PAGE_SIZE + 4080, 4080, 10 * PAGE_SIZE + 16);
    put(24 * PAGE_SIZE - 16, 3 * PAGE_SIZE - 16, 16 * PAGE_SIZE + 16);
    const read: PagesReader = (offset, length) => aligned.subarray(offset, offset + length);
    assert.deepEqual([...chunkHeadersOf([runAt(0, 40)], at(40), read)], [at(0), at(10), at(23)]);
  });

  test('looks where glibc’s memory is with an unlimited stack', () => {
    const { read } = fileWith(4, { 0: size(4) });
    const low = { address: 0x2aab_0000_0000, pages: 4, offset: 0 };
    assert.deepEqual([...chunkHeadersOf([low], 0x2aab_0000_4000, read)], [0x2aab_0000_0000]);
  });

  test('a previous size says that this is no mmapped chunk', () => {
    const { bytes, read } = fileWith(4, { 0: size(4) });
    bytes[0] = 16;
    assert.deepEqual([...chunkHeadersOf([runAt(0, 4)], at(4), read)], []);
  });

  test('memory that the kernel did not place is not searched', () => {
    const { read, reads } = fileWith(4, { 0: size(4) });
    const low = { address: 0x10_0000, pages: 4, offset: 0 };
    assert.deepEqual([...chunkHeadersOf([low], 0x10_4000, read)], []);
    assert.deepEqual(reads, []);
  });
});
