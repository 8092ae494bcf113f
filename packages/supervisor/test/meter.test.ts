import assert from 'node:assert/strict';
import test from 'node:test';
import type { Progress } from '../src/host/index.ts';
import { meterFor } from '../src/host/meter.ts';

test('progress is told at most every 100 ms and at the end, with rate and time left', () => {
  const told: Progress[] = [];
  let now = 0;
  const meter = meterFor({ onProgress: (progress) => told.push(progress) }, 'compress', 1000, () => now);
  for (; now < 250; now += 10) meter.onBytes(10);
  assert.deepEqual(
    told.map(({ doneBytes }) => doneBytes),
    [110, 210],
  );
  assert.deepEqual(told[0], {
    step: 'compress',
    doneBytes: 110,
    totalBytes: 1000,
    bytesPerSecond: 1100,
    leftMs: 809,
  });
  meter.end();
  assert.equal(told.at(-1)?.doneBytes, 250);
  const unknown: Progress[] = [];
  meterFor({ onProgress: (progress) => unknown.push(progress) }, 'read', 0, () => 0).end();
  assert.deepEqual([unknown[0]?.leftMs, unknown[0]?.bytesPerSecond], [null, 0]);
});
