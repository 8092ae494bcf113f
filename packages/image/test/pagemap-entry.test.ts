import assert from 'node:assert/strict';
import { test } from 'node:test';
import { create, fromBinary, toBinary } from '@bufbuild/protobuf';
import fc from 'fast-check';
import { pagemap_entrySchema } from '../src/gen/pagemap_pb.ts';
import { readPagemapEntry } from '../src/pagemap-entry.ts';

const entries = fc.record(
  {
    vaddr: fc.bigInt(0n, 2n ** 47n),
    compatNrPages: fc.nat(2 ** 32 - 1),
    inParent: fc.option(fc.boolean(), { nil: false }),
    flags: fc.nat(2 ** 32 - 1),
    nrPages: fc.bigInt(0n, 2n ** 36n),
  },
  { requiredKeys: ['vaddr', 'compatNrPages'] },
);

test('a pagemap entry is read like the generic decoder reads it, or left to it', () => {
  let read = 0;
  fc.assert(
    fc.property(entries, (fields) => {
      const bytes = toBinary(pagemap_entrySchema, create(pagemap_entrySchema, fields));
      // Between other bytes, as in a file.
      const file = Uint8Array.of(1, 2, 3, ...bytes, 0xff, 0xff);
      const entry = readPagemapEntry(file, 3, 3 + bytes.length);
      if (entry === null) return;
      read++;
      assert.deepEqual(entry, fromBinary(pagemap_entrySchema, bytes));
    }),
  );
  assert.ok(read > 10, 'most entries are read');
});

test('an entry that is cut off, or holds something twice, or something unknown, is left to the generic decoder', () => {
  const bytes = toBinary(
    pagemap_entrySchema,
    create(pagemap_entrySchema, { vaddr: 0x7f00_0000_0000n, compatNrPages: 0, flags: 4, nrPages: 300n }),
  );
  assert.notEqual(readPagemapEntry(bytes, 0, bytes.length), null);
  for (let length = 1; length < bytes.length; length++) {
    const isWhole = readPagemapEntry(bytes.subarray(0, length), 0, length);
    // Cut between two fields it is an entry with fewer of them.
    if (isWhole !== null)
      assert.deepEqual(isWhole, fromBinary(pagemap_entrySchema, bytes.subarray(0, length)));
  }
  for (const more of [
    [0x08, 1],
    [0x30, 1],
    [0x0a, 1, 1],
    [0x18, 1],
  ])
    assert.equal(readPagemapEntry(Uint8Array.of(...bytes, ...more), 0, bytes.length + more.length), null);
});
