import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, test } from 'node:test';
import { PAGE_SIZE } from '@forkpoint/image';
import { findNote, linkProcess, notePatch, reasonAgainst } from '../src/index.ts';
import type { Note, PagesReader } from '../src/index.ts';
import { area, bytes, stored, WITH_SHIM, zeros } from './memory.ts';

const SHIM_FILE = 64;
const shim = area(100, 2, { status: SHIM_FILE, shmid: 3n });
/** The shim's two pages, and after them one page of the libc's data. */
const runs = stored([100, 2], [200, 1]);

/** A pages file with a note at the start of the shim's second page, that points to counters. */
function file({ isReady = 1, magic = 'forkpoint note 1' } = {}): { pages: Buffer; read: PagesReader } {
  const pages = Buffer.alloc(bytes(3));
  pages.write(magic, PAGE_SIZE + 512, 'latin1');
  pages.writeBigUInt64LE(BigInt(isReady), PAGE_SIZE + 512 + 16);
  pages.writeBigUInt64LE(BigInt(bytes(200) + 100), PAGE_SIZE + 512 + 24);
  pages.writeBigUInt64LE(BigInt(bytes(200) + 120), PAGE_SIZE + 512 + 32);
  pages.writeUInt32LE(7, bytes(2) + 100);
  pages.writeBigUInt64LE(70_000n, bytes(2) + 120);
  return { pages, read: (offset, length) => pages.subarray(offset, offset + length) };
}

function found(read: PagesReader): Note {
  const note = findNote([shim], runs, read);
  if (note === null) throw new Error('there is no note');
  return note;
}

describe('the note of the preload shim', () => {
  test('is found by its first bytes, with what glibc has counted', () => {
    const note = found(file().read);
    assert.equal(note.page, bytes(101));
    assert.deepEqual(note.chunks, { count: 7, bytes: 70_000 });
    assert.deepEqual(note.watched, []);
  });

  test('is none before the shim has written it, and none without its first bytes', () => {
    assert.equal(findNote([shim], runs, file({ isReady: 0 }).read), null);
    assert.equal(findNote([shim], runs, file({ magic: 'forkpoint note 2' }).read), null);
  });

  test('counters that the image does not hold are not known', () => {
    assert.equal(findNote([shim], stored([100, 2]), file().read)?.chunks, null);
  });

  test('says after a patch where the shim looks: areas that touch are one', () => {
    const { pages, read } = file();
    const patch = notePatch(found(read), [area(10, 5), area(15, 5), area(40, 1)]);
    pages.set(patch.bytes, patch.offset);
    assert.deepEqual(found(read).watched, [
      [bytes(10), bytes(20)],
      [bytes(40), bytes(41)],
    ]);
  });

  test('of many areas the nearest are joined, and none is left out', () => {
    const { pages, read } = file();
    const areas = Array.from({ length: 40 }, (_, i) => area(1000 + i * i, 1));
    const patch = notePatch(found(read), areas);
    pages.set(patch.bytes, patch.offset);
    const { watched } = found(read);
    assert.equal(watched.length, 16);
    for (const { start, end } of areas)
      assert.ok(watched.some(([from, to]) => from <= Number(start) && Number(end) <= to));
    assert.deepEqual(watched.at(-1), [bytes(1000 + 39 * 39), bytes(1000 + 39 * 39 + 1)]);
  });

  test('its page stays a copy, whatever is linked around it', () => {
    const memory = area(100, 20, { status: SHIM_FILE, shmid: 7n });
    const note = { page: bytes(110), chunks: null };
    const { left, report } = linkProcess([memory], stored([100, 20]), WITH_SHIM, {
      fileId: 9,
      threshold: 1,
      read: zeros,
      note,
    });
    assert.deepEqual(left, [{ address: bytes(110), pages: 1, offset: bytes(10) }]);
    assert.deepEqual(report.kept, { note: 1 });
  });

  test('memory that the shim was not told of is not linked when an image is flattened', () => {
    const facts = { ...WITH_SHIM, watched: [[bytes(10), bytes(20)] as const] };
    assert.equal(reasonAgainst(area(10, 10), facts), null);
    assert.equal(reasonAgainst(area(15, 6), facts), 'no-preload');
  });

  test('has the layout that the shim gives it', () => {
    const source = readFileSync(join(import.meta.dirname, '../../launcher/shim/note.h'), 'utf8');
    const fields = /static struct \{([^}]*)\} note/.exec(source)?.[1] ?? '';
    const names = [...fields.matchAll(/(\w+)(\[\w+\])?;/g)].map(([, name]) => name);
    assert.deepEqual(names, ['magic', 'isReady', 'chunks', 'chunkBytes', 'ranges', 'linked']);
    assert.match(source, /#define NOTE_RANGES 16\b/);
    assert.match(source, /aligned\(512\), used\)\) = \{"forkpoint note 1"/);
  });
});
