import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeImage, encodeImage, pageRuns, type PagemapFile } from '../src/index.ts';
import type { pagemap_entry, pagemap_head } from '../src/gen/pagemap_pb.ts';
import { PAGE_IN_PARENT, PAGE_LAZY, PAGE_PRESENT, pagemapEntry } from '../src/pages.ts';
import { create } from '../src/message.ts';
import { schema } from '../src/schema.ts';

const headOf = schema<pagemap_head>('pagemap_head');
const entryOf = schema<pagemap_entry>('pagemap_entry');

function pagemap(entries: pagemap_entry[]): PagemapFile {
  const head = create(headOf(), { pagesId: 1 });
  return { kind: 'pagemap', name: 'pagemap-7.img', head, entries };
}

describe('pageRuns', () => {
  it('reads the pagemaps of CRIU 4.1, 4.2 and of versions without flags alike', () => {
    const file = pagemap([
      create(entryOf(), { vaddr: 0x1000n, compatNrPages: 2, flags: PAGE_PRESENT }),
      pagemapEntry(0x5000, 3, PAGE_PRESENT | PAGE_LAZY),
      create(entryOf(), { vaddr: 0x9000n, compatNrPages: 1 }),
      create(entryOf(), { vaddr: 0xa000n, compatNrPages: 4, inParent: true }),
      pagemapEntry(0x10000, 1, PAGE_PRESENT),
    ]);
    assert.deepEqual(pageRuns(file), [
      { address: 0x1000, pageCount: 2, flags: PAGE_PRESENT, firstPage: 0 },
      { address: 0x5000, pageCount: 3, flags: PAGE_PRESENT | PAGE_LAZY, firstPage: 2 },
      { address: 0x9000, pageCount: 1, flags: PAGE_PRESENT, firstPage: 5 },
      { address: 0xa000, pageCount: 4, flags: PAGE_IN_PARENT, firstPage: undefined },
      { address: 0x10000, pageCount: 1, flags: PAGE_PRESENT, firstPage: 6 },
    ]);
  });

  it('counts more pages than 32 bits hold', () => {
    const [run] = pageRuns(pagemap([pagemapEntry(0, 2 ** 33, PAGE_PRESENT)]), 2 ** 34);
    assert.equal(run?.pageCount, 2 ** 33);
  });

  it('refuses addresses and counts out of range', () => {
    const invalid = { code: 'ERR_FORKPOINT_IMAGE_INVALID' };
    const limit = { code: 'ERR_FORKPOINT_IMAGE_LIMIT' };
    const high = create(entryOf(), { vaddr: 2n ** 60n, compatNrPages: 1 });
    assert.throws(() => pageRuns(pagemap([high])), invalid);
    assert.throws(() => pageRuns(pagemap([pagemapEntry(0x1001, 1, PAGE_PRESENT)])), invalid);
    assert.throws(() => pageRuns(pagemap([pagemapEntry(0, 11, PAGE_PRESENT)]), 10), limit);
    const endless = create(entryOf(), { vaddr: 0n, compatNrPages: 0, nrPages: 2n ** 64n - 1n });
    assert.throws(() => pageRuns(pagemap([endless])), limit);
  });

  it('finds again what pagemapEntry made, through the codec', () => {
    const runs = fc.array(
      fc.record(
        {
          address: fc.integer({ min: 0, max: 2 ** 35 }).map((page) => page * 4096),
          pageCount: fc.integer({ min: 1, max: 2 ** 20 }),
        },
        { noNullPrototype: true },
      ),
    );
    const isSame = fc.property(runs, (wanted) => {
      const file = pagemap(
        wanted.map(({ address, pageCount }) => pagemapEntry(address, pageCount, PAGE_PRESENT)),
      );
      const again = decodeImage(file.name, encodeImage(file));
      assert.deepEqual(again, file);
      assert.ok(again.kind === 'pagemap');
      assert.deepEqual(
        pageRuns(again).map(({ address, pageCount }) => ({ address, pageCount })),
        wanted,
      );
    });
    fc.assert(isSame, { numRuns: 50 });
  });
});
