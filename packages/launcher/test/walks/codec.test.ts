import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { nodeBinary } from '@forkpoint/testkit';
import { compileShim } from '../compile-shim.ts';

const SCRIPT = `
const module_ = { exports: {} };
process.dlopen(module_, process.argv[1]);
const { compress, decompress } = module_.exports;
const { zstdDecompressSync } = require('node:zlib');
const results = [];
const told = async (work) => {
  try { results.push(await work()); } catch (error) { results.push(error.code); }
};
async function main() {
  const source = Buffer.alloc(1 << 20, 'warm ');
  const packed = Buffer.alloc(source.length + 5000);
  const count = await compress(source, packed, 1);
  const back = Buffer.alloc(source.length);
  results.push(count < 5000, await decompress(packed.subarray(0, count), back), back.equals(source));
  for (const damaged of [packed.subarray(0, count - 1), Buffer.concat([packed.subarray(0, count - 1), Buffer.from([7])])])
    await told(() => decompress(damaged, back));
  for (const wrong of [[], [1, 2], [source, Buffer.alloc(3), 1]]) await told(() => compress(...wrong));
  results.push(zstdDecompressSync === undefined || zstdDecompressSync(packed.subarray(0, count)).equals(source));
  // Many at once, of both kinds: each has a context of its own.
  const many = Array.from({ length: 40 }, (_, index) => Buffer.alloc(100_000 + index, 'chunk ' + index));
  const frames = many.map((bytes) => Buffer.alloc(bytes.length + 5000));
  const counts = await Promise.all(many.map((bytes, index) => compress(bytes, frames[index], 1)));
  const backs = many.map((bytes) => Buffer.alloc(bytes.length));
  await Promise.all(backs.map((bytes, index) => decompress(frames[index].subarray(0, counts[index]), bytes)));
  results.push(backs.every((bytes, index) => bytes.equals(many[index])));
  console.log(JSON.stringify(results));
}
void main();
`;

test('the codec packs, unpacks and refuses damage on every Node.js, also beside a zstd of its own', () => {
  const directory = mkdtempSync(join(tmpdir(), 'forkpoint-codec-'));
  try {
    const addon = compileShim('cc', 'codec', directory);
    for (const major of [20, 24] as const) {
      const out = execFileSync(nodeBinary(major), ['-e', SCRIPT, addon], {
        encoding: 'utf8',
        timeout: 20_000,
      });
      const code = 'ERR_FORKPOINT_CODEC';
      assert.deepEqual(
        JSON.parse(out),
        [true, 1 << 20, true, code, code, code, code, code, true, true],
        `node ${major}`,
      );
    }
  } finally {
    rmSync(directory, { recursive: true });
  }
});
