import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { rewrite } from '../src/index.ts';
import { applied, edited, fixture, messages } from './images.ts';

interface Times {
  readonly ticks: bigint;
  readonly left: bigint;
  readonly interval: bigint;
}

/** The nanoseconds left of the recorded image's timer after a rewrite, when CRIU had dumped these. */
function leftAfter({ ticks, left, interval }: Times): bigint | undefined {
  const image = edited(fixture('zoo'), 'files', 'files.img', (file) => {
    const timer = file.entries.find(({ message }) => message.tfd)?.message.tfd;
    assert.ok(timer, 'the recorded image has a timer');
    Object.assign(timer, { ticks, vsec: 0n, vnsec: left, isec: 0n, insec: interval });
  });
  const after = messages(applied(image, rewrite(image)), 'files', 'files.img');
  return after.entries.find(({ message }) => message.tfd)?.message.tfd?.vnsec;
}

describe('a timer of timerfd_create', () => {
  it('that had expired unread goes on after its interval', () =>
    assert.equal(leftAfter({ ticks: 3n, left: 0n, interval: 20n }), 20n));

  it('that runs, is off, or has no interval, stays as it is', () => {
    assert.equal(leftAfter({ ticks: 3n, left: 7n, interval: 20n }), 7n);
    assert.equal(leftAfter({ ticks: 0n, left: 0n, interval: 20n }), 0n);
    assert.equal(leftAfter({ ticks: 1n, left: 0n, interval: 0n }), 0n);
  });
});
