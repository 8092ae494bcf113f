import assert from 'node:assert/strict';
import { describe, test } from 'node:test';
import { planPool } from '../src/pool/policy.ts';
import type { PoolView, Standing } from '../src/pool/policy.ts';

const BOUNDS = { size: 4, maxMemoryBytes: 100, maxAgeMs: 1000 };

function view(parked: readonly Partial<Standing>[], rest: Partial<PoolView> = {}): PoolView {
  return {
    parked: parked.map((one, at) => ({
      id: String(at),
      parkedAtMs: 0,
      privateBytes: 10,
      isHealthy: true,
      ...one,
    })),
    starting: 0,
    typicalBytes: 10,
    failures: 0,
    failedAtMs: 0,
    nowMs: 0,
    ...rest,
  };
}

describe('the policy of a pool', () => {
  test('starts what is missing, a few at a time', () => {
    assert.deepEqual(planPool(BOUNDS, view([])), { retire: [], start: 2, againInMs: null });
    assert.equal(planPool(BOUNDS, view([], { starting: 1 })).start, 1);
    assert.equal(planPool(BOUNDS, view([{}, {}, {}])).start, 1);
    assert.equal(planPool(BOUNDS, view([{}, {}, {}], { starting: 1 })).start, 0);
    assert.equal(planPool(BOUNDS, view([{}, {}, {}, {}])).start, 0);
  });

  test('retires the dead and the old, and says when the next is old', () => {
    const { retire, start, againInMs } = planPool(
      BOUNDS,
      view([{ isHealthy: false }, { parkedAtMs: -1000 }, { parkedAtMs: -400 }]),
    );
    assert.deepEqual(retire, [
      { id: '1', why: 'old' },
      { id: '0', why: 'dead' },
    ]);
    assert.deepEqual([start, againInMs], [2, 600]);
  });

  test('keeps within its memory, and starts none that would not fit', () => {
    assert.equal(planPool(BOUNDS, view([{ privateBytes: 60 }])).start, 0);
    assert.equal(planPool(BOUNDS, view([{ privateBytes: 45 }])).start, 1);
    const over = planPool(BOUNDS, view([{ privateBytes: 60 }, { privateBytes: 60 }]));
    assert.deepEqual([over.retire, over.start], [[{ id: '1', why: 'memory' }], 0]);
    assert.equal(planPool(BOUNDS, view([], { typicalBytes: 101 })).start, 0);
  });

  test('pauses longer and longer after starts that fail, and not for ever', () => {
    const pauses = [1, 2, 3, 30, 3000].map(
      (failures) => planPool(BOUNDS, view([], { failures, failedAtMs: 0, nowMs: 0 })).againInMs,
    );
    assert.deepEqual(pauses, [100, 200, 400, 30_000, 30_000]);
    assert.equal(planPool(BOUNDS, view([], { failures: 3, failedAtMs: 0, nowMs: 400 })).start, 2);
  });
});
