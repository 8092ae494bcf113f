import assert from 'node:assert/strict';
import { test } from 'node:test';

import { createGenerator, kernelSeed } from '../src/randomness.ts';

test('equal seeds give equal values, other seeds others', () => {
  const draw = (state: number[]) => {
    const { random, seed } = createGenerator();
    seed(Int32Array.from(state));
    return Array.from({ length: 4 }, random);
  };
  assert.deepEqual(draw([1, 2, 3, 4]), draw([1, 2, 3, 4]));
  assert.notDeepEqual(draw([1, 2, 3, 4]), draw([1, 2, 3, 5]));
});

test('values are uniform in [0, 1) and use 53 bits', () => {
  const { random, seed } = createGenerator();
  seed(Int32Array.of(11, 22, 33, 44));
  const BUCKETS = 256;
  const DRAWS = 256_000;
  const buckets = new Uint32Array(BUCKETS);
  let hasLowestBit = false;
  for (let draw = 0; draw < DRAWS; draw++) {
    const value = random();
    assert.ok(value >= 0 && value < 1);
    buckets[Math.floor(value * BUCKETS)]! += 1;
    hasLowestBit ||= value >= 0.5 && (value * 2 ** 53) % 2 === 1;
  }
  const expected = DRAWS / BUCKETS;
  const chiSquare = buckets.reduce((sum, count) => sum + (count - expected) ** 2 / expected, 0);
  // 255 degrees of freedom: mean 255, standard deviation 22.6; the seed is fixed, so this cannot flicker.
  assert.ok(chiSquare > 165 && chiSquare < 345, String(chiSquare));
  assert.ok(hasLowestBit);
});

test('the function looks like the native one', () => {
  const { random } = createGenerator();
  assert.equal(random.name, 'random');
  assert.equal(random.length, 0);
  assert.throws(() => Reflect.construct(random, []), TypeError);
});

test('seeds come from the kernel and differ', () => {
  assert.notDeepEqual(kernelSeed(4), kernelSeed(4));
});
