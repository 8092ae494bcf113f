import assert from 'node:assert/strict';
import crypto, { randomFillSync } from 'node:crypto';
import { test } from 'node:test';
import { runInThisContext } from 'node:vm';

import { RandomPools } from '../src/pools.ts';

const pools = new RandomPools();
pools.watch();
pools.look();

type Fill = (target: Uint8Array) => void;

/** A function that fills a buffer and lies in a file of this path. */
function fillerIn(path: string): Fill {
  return runInThisContext('(fill) => (target) => fill(target)', { filename: path })((target: Uint8Array) =>
    crypto.randomFillSync(target),
  ) as Fill;
}

/** Whether the buffer holds other bytes once all pools have been filled anew. */
function changes(target: Uint8Array): boolean {
  const before = Uint8Array.from(target);
  pools.refill();
  return Buffer.compare(before, target) !== 0;
}

test('what nanoid and uuid have drawn ahead is drawn anew, and so is what bson keeps', () => {
  for (const [file, size] of [
    ['/app/node_modules/nanoid/index.cjs', 2688],
    ['/app/node_modules/.pnpm/uuid@9.0.1/node_modules/uuid/dist/rng.js', 256],
    ['/app/node_modules/bson/lib/bson.cjs', 5],
  ] as const) {
    const pool = Buffer.alloc(size);
    fillerIn(file)(pool);
    assert.ok(changes(pool), file);
    assert.ok(changes(pool), `${file}, at every restore`);
  }
});

test('keys, nonces and large random buffers of the program keep their bytes', () => {
  const fill = fillerIn('/app/src/keys.js');
  for (const size of [5, 16, 32, 64, 256, 65_536]) {
    const key = new Uint8Array(size);
    fill(key);
    assert.equal(changes(key), false, `${size} bytes`);
  }
  const nonce = new Uint8Array(12);
  for (let round = 0; round < 3; round++) crypto.getRandomValues(nonce);
  assert.equal(changes(nonce), false, 'a small buffer that is used again');
  const drawn = crypto.randomBytes(4096);
  assert.equal(changes(drawn), false, 'what randomBytes returned');
});

test('a buffer that is filled again as a whole is a pool, by whatever function; one that is filled in parts is none', () => {
  const pool = new Uint8Array(512);
  for (let round = 0; round < 2; round++) crypto.webcrypto.getRandomValues(pool);
  assert.ok(changes(pool));
  // An imported name is the same function.
  const other = Buffer.alloc(512);
  for (let round = 0; round < 2; round++) randomFillSync(other);
  assert.ok(changes(other));
  const parts = Buffer.alloc(512);
  for (let round = 0; round < 2; round++) crypto.randomFillSync(parts, 0, 256);
  assert.equal(changes(parts), false);
});

test('a buffer that was filled twice and holds something else by now keeps that', () => {
  for (const at of [0, 511]) {
    const scratch = new Uint8Array(512);
    for (let round = 0; round < 2; round++) crypto.randomFillSync(scratch);
    scratch[at] = (scratch[at] ?? 0) ^ 1;
    assert.equal(changes(scratch), false, `changed at ${at}`);
  }
});

test('of many buffers that were filled once the oldest are forgotten, and no pool is', () => {
  const pool = Buffer.alloc(2688);
  fillerIn('/app/node_modules/nanoid/index.cjs')(pool);
  const many = Array.from({ length: 2000 }, () => crypto.randomFillSync(new Uint8Array(200)));
  assert.equal(many.length, 2000);
  assert.ok(changes(pool));
});

test('the functions look like the native ones', () => {
  assert.deepEqual([crypto.randomFillSync.name, crypto.randomBytes.length], ['randomFillSync', 2]);
  assert.throws(() => Reflect.construct(crypto.randomBytes, [1]), TypeError);
  assert.throws(() => crypto.webcrypto.getRandomValues(new Float64Array(1) as never), {
    name: 'TypeMismatchError',
  });
});
