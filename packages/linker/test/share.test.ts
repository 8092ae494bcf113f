import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { AREA_FILE_PRIVATE, PAGE_SIZE } from '@forkpoint/image';
import type { vma_entry } from '@forkpoint/image';
import fc from 'fast-check';
import { linkProcess, mappedRanges, moveOffsets } from '../src/index.ts';
import type { LinkedMemory, ParentMemory } from '../src/index.ts';
import { area, bytes, run, stored, WITH_SHIM } from './memory.ts';

const PARENT = 50;
const CHILD = 51;

/** A pages file in which page i is full of the i-th letter. */
function fileOf(letters: string): Uint8Array {
  return Buffer.concat([...letters].map((letter) => Buffer.alloc(PAGE_SIZE, letter)));
}

/** Links memory that begins at page 16 and holds these letters; `.` is a page that is not stored. */
function linkLetters(
  letters: string,
  fileId: number,
  threshold: number,
  parent?: ParentMemory,
): { file: Uint8Array; linked: LinkedMemory } {
  const file = fileOf(letters.replaceAll('.', ''));
  const pieces = [...letters.matchAll(/[^.]+/g)].map((found) => [16 + found.index, found[0].length] as const);
  const linked = linkProcess([area(16, letters.length)], stored(...pieces), WITH_SHIM, {
    fileId,
    threshold,
    read: (offset, length) => file.subarray(offset, offset + length),
    ...(parent && { parent }),
  });
  return { file, linked };
}

function familyOf(
  before: string,
  after: string,
  threshold: number,
): { files: Map<number, Uint8Array>; child: LinkedMemory } {
  const parent = linkLetters(before, PARENT, threshold);
  const files = new Map([[PARENT, parent.file]]);
  const read = (fileId: number, offset: number, length: number): Uint8Array =>
    files.get(fileId)?.subarray(offset, offset + length) ?? new Uint8Array(0);
  const child = linkLetters(after, CHILD, threshold, { mapped: parent.linked.mapped, read });
  files.set(CHILD, child.file);
  return { files, child: child.linked };
}

/** What a restore would show: mappings of the files, with the kept pages over them. */
function restored(
  areas: readonly vma_entry[],
  left: LinkedMemory['left'],
  files: ReadonlyMap<number, Uint8Array>,
  pages: number,
): string {
  const memory = Array.from({ length: pages }, () => '.');
  const put = (address: number, count: number, file: Uint8Array | undefined, offset: number): void => {
    for (let i = 0; i < count; i++)
      memory[address / PAGE_SIZE - 16 + i] = String.fromCodePoint(file?.[offset + i * PAGE_SIZE] ?? 33);
  };
  for (const { start, end, status, shmid, pgoff } of areas) {
    if ((status & AREA_FILE_PRIVATE) !== 0)
      put(Number(start), Number(end - start) / PAGE_SIZE, files.get(Number(shmid)), Number(pgoff));
  }
  for (const { address, pages: count, offset } of left) put(address, count, files.get(CHILD), offset);
  return memory.join('');
}

const mapped = ({ mapped: runs }: LinkedMemory): unknown[] =>
  runs.map(({ address, pages, fileId, offset }) => [address / PAGE_SIZE, pages, fileId, offset / PAGE_SIZE]);

describe('a child of fork', () => {
  test('maps what equals its parent’s memory from the parent’s file, and the rest from its own', () => {
    const { child } = familyOf('abcdefgh', 'abcdWXYZ', 4);
    assert.deepEqual(mapped(child), [
      [16, 4, PARENT, 0],
      [20, 4, CHILD, 4],
    ]);
    assert.equal(child.report.shared, 4);
  });

  test('keeps a few pages that differ as copies over the parent’s file, in one area', () => {
    const { child } = familyOf('abcdefghij', 'abcdXYghij', 4);
    assert.deepEqual(mapped(child), [[16, 10, PARENT, 0]]);
    assert.deepEqual(child.left, [run(20, 2, 4)]);
    assert.deepEqual(child.report.kept, { changed: 2 });
    assert.equal(child.report.linked, 8);
  });

  test('does not take equal pages at another address for the same', () => {
    const { child } = familyOf('abcdefgh', 'efghabcd', 2);
    assert.deepEqual(mapped(child), [[16, 8, CHILD, 0]]);
  });

  test('whatever parent and child hold: the child comes back as it was, and its file compacted shows the same', () => {
    const letters = fc.string({
      unit: fc.constantFrom('a', 'a', 'a', 'b', '.'),
      minLength: 40,
      maxLength: 40,
    });
    fc.assert(
      fc.property(letters, letters, fc.constantFrom(1, 2, 4, 8), (before, after, threshold) => {
        const { files, child } = familyOf(before, after, threshold);
        assert.equal(restored(child.areas, child.left, files, 40), after);
        const file = files.get(CHILD) ?? new Uint8Array(0);
        const ranges = mappedRanges(child.areas, CHILD);
        const kept = child.left.map((one) => file.subarray(one.offset, one.offset + bytes(one.pages)));
        moveOffsets(child.areas, CHILD, ranges);
        const compact = Buffer.concat(
          ranges.map(({ offset, length }) => file.subarray(offset, offset + length)),
        );
        assert.equal(restored(child.areas, [], new Map([...files, [CHILD, compact]]), 40).length, 40);
        const shown = restored(child.areas, [], new Map([...files, [CHILD, compact]]), 40);
        for (const [i, letter] of [...shown].entries()) {
          const isKept = child.left.some(
            ({ address, pages }) => address <= bytes(16 + i) && bytes(16 + i) < address + bytes(pages),
          );
          if (!isKept) assert.equal(letter, after[i], `page ${i}`);
        }
        assert.equal(
          kept.reduce((sum, part) => sum + part.length, 0),
          bytes(child.report.pages - child.report.linked),
        );
      }),
      { numRuns: 400 },
    );
  });
});
