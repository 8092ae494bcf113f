import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { decodeImage, encodeImage, ImageError, type ImageErrorCode, KINDS, kindOf } from '../src/index.ts';
import type { MessageKind } from '../src/index.ts';
import { anyFile, exampleName } from './arbitrary.ts';
import { fixture, FIXTURES } from './fixture.ts';
import { fuzzCodec } from './fuzz.ts';

const kinds = Object.keys(KINDS) as MessageKind[]; // the keys of KINDS

function codeOf(run: () => unknown): ImageErrorCode | undefined {
  try {
    run();
  } catch (error) {
    assert.ok(error instanceof ImageError, String(error));
    return error.code;
  }
  return undefined;
}

function word(value: number): number[] {
  return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, value >>> 24];
}

describe('decodeImage and encodeImage', () => {
  it('give back every file of recorded images byte for byte', () => {
    let count = 0;
    for (const name of FIXTURES) {
      const source = fixture(name);
      for (const file of source.names.filter((item) => !item.startsWith('pages-'))) {
        const bytes = source.read(file);
        const value = decodeImage(file, bytes);
        assert.notEqual(value.kind, 'raw', file);
        assert.deepEqual(encodeImage(value), bytes, file);
        count++;
      }
    }
    assert.ok(count > 60);
  });

  it('give back every value of every kind', () => {
    for (const kind of kinds) {
      assert.equal(kindOf(exampleName(kind)), kind);
      const isSame = fc.property(anyFile(kind), (file) => {
        assert.deepEqual(decodeImage(file.name, encodeImage(file)), file);
      });
      fc.assert(isSame, { numRuns: 15 });
    }
  });

  it('keep unknown fields and unknown enum values byte for byte', () => {
    // fs_entry { cwd_id 1, root_id 2 } with the unknown field 100: a varint, and 101: bytes.
    const message = [8, 1, 16, 2, 0xa0, 6, 5, 0xaa, 6, 2, 7, 9];
    const bytes = Uint8Array.of(
      ...word(0x54564319),
      ...word(0x51403912),
      ...word(message.length),
      ...message,
    );
    assert.deepEqual(encodeImage(decodeImage('fs-1.img', bytes)), bytes);
    // fdinfo_entry with type 99.
    const entry = [8, 1, 16, 0, 24, 99, 32, 5];
    const fdinfo = Uint8Array.of(...word(0x54564319), ...word(0x56213732), ...word(entry.length), ...entry);
    assert.deepEqual(encodeImage(decodeImage('fdinfo-2.img', fdinfo)), fdinfo);
  });

  it('keep file names that are not UTF-8', () => {
    const name = [0x2f, 0xff, 0xc3, 0xa4, 0xed, 0xb2, 0x80, 0xef, 0xbb, 0xbf];
    const message = [8, 1, 18, 5, 0x64, 0x6f, 0x6d, 0x61, 0x69];
    const utsns = [10, name.length, ...name, ...message.slice(2)];
    const bytes = Uint8Array.of(...word(0x54564319), ...word(0x54473203), ...word(utsns.length), ...utsns);
    const file = decodeImage('utsns-11.img', bytes);
    assert.equal(
      file.kind === 'utsns' && file.entries[0]?.message.nodename,
      '/\udcffä\udced\udcb2\udc80\ufeff',
    );
    assert.deepEqual(encodeImage(file), bytes);
  });

  it('leave files of unknown kinds alone', () => {
    for (const name of ['pages-1.img', 'tmpfs-dev-73.tar.gz.img', 'dump.log', 'core-x.img', 'later-5.img']) {
      const bytes = Uint8Array.of(1, 2, 3);
      const file = decodeImage(name, bytes);
      assert.equal(file.kind, 'raw');
      assert.equal(encodeImage(file), bytes);
    }
  });

  it('say what is wrong with bytes that are no such file', () => {
    const whole = fixture('zoo').read('files.img');
    assert.equal(
      codeOf(() => decodeImage('files.img', new Uint8Array(0))),
      'ERR_FORKPOINT_IMAGE_TRUNCATED',
    );
    assert.equal(
      codeOf(() => decodeImage('mm-1.img', whole)),
      'ERR_FORKPOINT_IMAGE_MALFORMED',
    );
    assert.equal(
      codeOf(() => decodeImage('files.img', whole.subarray(0, -1))),
      'ERR_FORKPOINT_IMAGE_TRUNCATED',
    );
    const missing = Uint8Array.of(...word(0x54564319), ...word(0x51403912), ...word(2), 8, 1);
    assert.throws(() => decodeImage('fs-1.img', missing), {
      code: 'ERR_FORKPOINT_IMAGE_MALFORMED',
      file: 'fs-1.img',
      offset: 8,
      message: /fs-1\.img at byte 8: .*root_?[iI]d/,
    });
  });

  it('refuse what exceeds a limit before reading it', () => {
    const whole = fixture('zoo').read('files.img');
    const limit = 'ERR_FORKPOINT_IMAGE_LIMIT';
    assert.equal(
      codeOf(() => decodeImage('files.img', whole, { fileBytes: 100 })),
      limit,
    );
    assert.equal(
      codeOf(() => decodeImage('files.img', whole, { entryBytes: 10 })),
      limit,
    );
    assert.equal(
      codeOf(() => decodeImage('files.img', whole, { entries: 3 })),
      limit,
    );
    const huge = Uint8Array.of(...word(0x54564319), ...word(0x51403912), ...word(0xfffffff0));
    assert.equal(
      codeOf(() => decodeImage('fs-1.img', huge)),
      limit,
    );
  });

  it('survive mutated and truncated files', () => {
    // `npm test` and `npm run fuzz` go on for longer, with another seed each time.
    const { runs, refused } = fuzzCodec({ seed: 1, runs: 1000 });
    assert.equal(runs, 1000);
    assert.ok(refused > 100 && refused < 1000, `${refused} of them refused`);
  });
});
