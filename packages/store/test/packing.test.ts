import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import { zstdDecompressSync } from 'node:zlib';
import fc from 'fast-check';
import { openCodecPool } from '../src/codec-pool.ts';
import { packFile, unpackFile } from '../src/packing.ts';
import { CHUNK_BYTES, decodeSeekTable, encodeSeekTable, seekTableBytes } from '../src/seek-table.ts';
import { temporaryDirectory } from './fake-run.ts';

// Without the addon, which set-up builds, node:zlib serves; packages/launcher/test/codec.test.ts looks at the addon.
const pool = openCodecPool('/no/addon', 1);

/** Memory as it is: pages of zeros, of pointers, of text, of noise. */
function memory(bytes: number): Buffer {
  const content = Buffer.alloc(bytes);
  for (let at = 0; at < bytes; at += 4096) {
    if (at % 3 === 0) randomBytes(64).copy(content, at);
    if (at % 5 === 0) content.fill(`item ${at} `, at, Math.min(bytes, at + 2000));
  }
  return content;
}

test('a file comes back byte for byte, whatever its length, and every zstd reads what was packed', async (t) => {
  const root = await temporaryDirectory(t);
  for (const size of [0, 1, 4096, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 3 * CHUNK_BYTES + 4096]) {
    const [raw, packed, back] = ['raw', 'packed', 'back'].map((name) => join(root, `${name}-${size}`)) as [
      string,
      string,
      string,
    ];
    const content = memory(size);
    writeFileSync(raw, content);
    const told = await packFile(raw, packed, pool);
    assert.equal(told.rawSize, size);
    assert.equal(told.packedSize, statSync(packed).size);
    await unpackFile(packed, back, pool, { rawSize: size, sha256: told.sha256 });
    assert.ok(readFileSync(back).equals(content));
    if (size > 0 && size <= CHUNK_BYTES) assert.ok(zstdDecompressSync(readFileSync(packed)).equals(content));
  }
});

test('a changed byte, a missing end and other content are noticed when a file is unpacked', async (t) => {
  const root = await temporaryDirectory(t);
  const [raw, packed] = [join(root, 'raw'), join(root, 'packed')];
  writeFileSync(raw, memory(2 * CHUNK_BYTES + 5));
  const { rawSize, sha256 } = await packFile(raw, packed, pool);
  const good = readFileSync(packed);
  let number = 0;
  const refused = async (bytes: Uint8Array, size = rawSize, digest = sha256): Promise<void> => {
    const [damaged, back] = [join(root, `d${++number}`), join(root, `b${number}`)];
    writeFileSync(damaged, bytes);
    await assert.rejects(unpackFile(damaged, back, pool, { rawSize: size, sha256: digest }), {
      code: 'ERR_FORKPOINT_CODEC',
    });
  };
  const neverOther = async (bytes: Uint8Array): Promise<boolean> => {
    const [damaged, back] = [join(root, `d${++number}`), join(root, `b${number}`)];
    writeFileSync(damaged, bytes);
    try {
      await unpackFile(damaged, back, pool, { rawSize, sha256 });
    } catch (error) {
      assert.equal((error as { code?: string }).code, 'ERR_FORKPOINT_CODEC');
      return true;
    }
    // Some bits of a frame mean nothing (RFC 8878, "unused bit"): the content is what counts.
    assert.ok(readFileSync(back).equals(readFileSync(raw)));
    return false;
  };
  let noticed = 0;
  for (let at = 0; at < good.length; at += Math.ceil(good.length / 40)) {
    const flipped = Buffer.from(good);
    flipped[at] = (flipped[at] ?? 0) ^ 1;
    if (await neverOther(flipped)) noticed++;
  }
  assert.ok(noticed >= 35, `${noticed} of 40`);
  for (const length of [0, 5, good.length - 1, good.length >> 1]) await refused(good.subarray(0, length));
  await refused(good, rawSize - 1);
  await refused(
    good,
    rawSize,
    sha256.replace(/^./, (digit) => (digit === '0' ? '1' : '0')),
  );
});

test('packing that is given up ends at the next chunk', async (t) => {
  const root = await temporaryDirectory(t);
  writeFileSync(join(root, 'raw'), memory(4 * CHUNK_BYTES));
  const abort = new AbortController();
  let done = 0;
  const onBytes = (bytes: number): void => {
    done += bytes;
    abort.abort(new Error('enough'));
  };
  await assert.rejects(
    packFile(join(root, 'raw'), join(root, 'packed'), pool, { signal: abort.signal, onBytes }),
    /enough/,
  );
  assert.equal(done, CHUNK_BYTES);
  assert.ok(existsSync(join(root, 'packed')), 'the caller removes it with its directory');
});

test('a seek table comes back as it was, and no other bytes are taken for one that does not fit', () => {
  const size = fc.integer({ min: 1, max: CHUNK_BYTES });
  const chunk = fc.tuple(size, size).map(([packed, raw]) => ({ packed, raw }));
  fc.assert(
    fc.property(fc.array(chunk, { maxLength: 50 }), fc.nat(), fc.nat(255), (chunks, at, value) => {
      const table = encodeSeekTable(chunks);
      const raw = chunks.reduce((sum, one) => sum + one.raw, 0);
      const size = table.length + chunks.reduce((sum, one) => sum + one.packed, 0);
      assert.equal(seekTableBytes(table.subarray(-9)), table.length);
      assert.deepEqual(decodeSeekTable(table, size, raw), chunks);
      const changed = Uint8Array.from(table);
      changed[at % changed.length] = value;
      try {
        const read = decodeSeekTable(changed, size, raw);
        assert.equal(
          read.reduce((sum, one) => sum + one.raw, 0),
          raw,
        );
      } catch (error) {
        assert.ok(error instanceof Error && 'code' in error && error.code === 'ERR_FORKPOINT_CODEC');
      }
    }),
  );
  assert.throws(() => decodeSeekTable(new Uint8Array(0), 0, 0), { code: 'ERR_FORKPOINT_CODEC' });
});
