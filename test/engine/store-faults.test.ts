import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { REFUSALS } from './fault-walk.ts';
import { compileFaults, killedAt, stepsOf } from './store-faults.ts';
import type { Faults } from './store-faults.ts';
import { OPERATIONS } from './store-walk.ts';

describe('when a file operation of a command on the store fails or is its last', () => {
  let directory: string;
  let faults: Faults;
  before(async () => {
    directory = mkdtempSync(join(tmpdir(), 'fp-faults-'));
    faults = await compileFaults(directory);
  });
  after(() => rmSync(directory, { recursive: true, force: true }));

  test('with a full disk at operations of compressing and repairing, every image is whole and nothing is left', async (context) => {
    context.diagnostic(`from operation ${REFUSALS.first} on`);
    for (const operation of ['compress', 'repair']) {
      const { steps, told } = await stepsOf(faults, operation, 'space', REFUSALS);
      assert.ok(steps > 10 / REFUSALS.stride, `${operation} has ${steps} steps`);
      for (const message of told) assert.match(message, /no space left|No space|ENOSPC/i);
    }
  });

  test('killed at some operation of each, every image is whole, gc leaves nothing, and the next attempt succeeds', async (context) => {
    const seed = Date.now() % 997;
    context.diagnostic(`seed ${seed}`);
    for (const [index, operation] of Object.keys(OPERATIONS).entries())
      await killedAt(faults, operation, 1 + ((seed * 31 + index * 7) % 12));
  });
});
