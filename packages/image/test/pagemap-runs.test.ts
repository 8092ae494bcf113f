import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import fc from 'fast-check';
import type { pagemap_entry, pagemap_head } from '../src/gen/pagemap_pb.ts';
import { encodeImage, pagemapEntry, pagemapRuns, pageRuns, PAGE_SIZE } from '../src/index.ts';
import type { PagemapFile, PageRun } from '../src/index.ts';
import { create } from '../src/message.ts';
import { schema } from '../src/schema.ts';

const headOf = schema<pagemap_head>('pagemap_head');
const entryOf = schema<pagemap_entry>('pagemap_entry');

const NAME = 'pagemap-7.img';

function fileOf(entries: PagemapFile['entries']): PagemapFile {
  return { kind: 'pagemap', name: NAME, head: create(headOf(), { pagesId: 3 }), entries };
}

/** Which page of the pages file each page of memory is, with its flags. */
function placesOf(runs: readonly PageRun[]): Map<number, string> {
  const places = new Map<number, string>();
  for (const { address, pageCount, flags, firstPage } of runs)
    for (let i = 0; i < pageCount; i++)
      places.set(address + i * PAGE_SIZE, `${firstPage === undefined ? '-' : firstPage + i} ${flags}`);
  return places;
}

describe('the runs of a pagemap file', () => {
  test('are those of its entries, neighbours joined', () => {
    const pieces = fc.array(
      fc.record({
        gap: fc.constantFrom(0, 0, 3),
        pages: fc.integer({ min: 1, max: 20 }),
        flags: fc.constantFrom(4, 4, 0, 2),
      }),
      { maxLength: 30 },
    );
    fc.assert(
      fc.property(pieces, fc.constantFrom(0x5555_0000_0000, 0x7fff_0000_0000), (list, base) => {
        let at = base;
        const entries = list.map(({ gap, pages, flags }) => {
          const address = at + gap * PAGE_SIZE;
          at = address + pages * PAGE_SIZE;
          return pagemapEntry(address, pages, flags);
        });
        const file = fileOf(entries);
        const { head, runs } = pagemapRuns(NAME, encodeImage(file));
        assert.equal(head.pagesId, 3);
        assert.deepEqual([...placesOf(runs)], [...placesOf(pageRuns(file))]);
        assert.ok(runs.length <= entries.length);
      }),
    );
  });

  test('of a gigabyte in entries of a megabyte are one', () => {
    const entries = Array.from({ length: 1024 }, (_, i) =>
      pagemapEntry(0x7f00_0000_0000 + i * 2 ** 20, 256, 4),
    );
    assert.deepEqual(pagemapRuns(NAME, encodeImage(fileOf(entries))).runs, [
      { address: 0x7f00_0000_0000, pageCount: 2 ** 18, flags: 4, firstPage: 0 },
    ]);
  });

  test('of old versions and of incremental dumps are read by the generic decoder', () => {
    const old = create(entryOf(), { vaddr: 0x10_0000n, compatNrPages: 5 });
    const parent = create(entryOf(), {
      vaddr: 0x20_0000n,
      compatNrPages: 2,
      inParent: true,
      flags: 0,
    });
    const file = fileOf([old, parent]);
    assert.deepEqual(pagemapRuns(NAME, encodeImage(file)).runs, pageRuns(file));
  });

  test('a file that is cut off, or holds no page addresses, is refused as ever', () => {
    const bytes = encodeImage(
      fileOf([pagemapEntry(0x7f00_0000_0000, 3, 4), pagemapEntry(0x7f00_1000_0000, 3, 4)]),
    );
    assert.throws(() => pagemapRuns(NAME, bytes.subarray(0, bytes.length - 3)), {
      code: 'ERR_FORKPOINT_IMAGE_TRUNCATED',
    });
    const odd = encodeImage(fileOf([pagemapEntry(0x7f00_0000_0001, 3, 4)]));
    assert.throws(() => pagemapRuns(NAME, odd), { code: 'ERR_FORKPOINT_IMAGE_INVALID' });
  });
});
