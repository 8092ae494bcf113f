import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DumpWalk, VICTIMS } from './dump-walk.ts';
import type { Point } from './dump-walk.ts';
import { CALLERS } from './faulty-engine.ts';
import { isFullWalk, isPartial, partOf, walkLanes } from './fault-walk.ts';

/** Steps among which a test run draws: a checkpoint has more of each. */
const DRAWN_FROM = { criu: 40, worker: 60, launcher: 1 };
/** Who does what to the store: CRIU and the worker write to it, the launcher only exchanges and answers. */
const FAULTS: readonly Point['fault'][] = ['space', 'io', 'files', ...VICTIMS];

/** A point waits as long as it computes, so that three go on at once, each with a program and a store of its own. */
const LANES = isFullWalk ? 3 : 1;

describe('whatever becomes of an operation on the store in the course of a checkpoint', () => {
  const walks: DumpWalk[] = [];
  before(async () => {
    for (let lane = 0; lane < LANES; lane++) walks.push(new DumpWalk());
    await Promise.all(walks.map(async (walk) => await walk.start()));
  });
  after(async () => await Promise.all(walks.map(async (walk) => await walk.leave())));

  test('the program goes on, every image is whole, and the next checkpoint holds every page that was changed', async (context) => {
    const told: string[] = [];
    const begun = Math.floor(Date.now() / 1000);
    for (const [turn, caller] of CALLERS.entries()) {
      for (const [index, fault] of FAULTS.entries()) {
        if (isFullWalk) {
          const from = partOf(caller, fault);
          if (from === undefined) continue;
          const line = `${caller}, ${fault}: ${await walkAll(caller, fault, from)} points`;
          // The whole takes half an hour: whoever waits sees how far it is.
          console.log(line);
          told.push(line);
        } else if ((begun + index + turn * 3) % FAULTS.length === 0) {
          const at = 1 + (Date.now() % DRAWN_FROM[caller]);
          told.push(`${caller} at ${at}, ${fault}: ${await walks[0]?.strike({ caller, at, fault })}`);
        }
      }
    }
    for (const line of told) context.diagnostic(line);
    assert.ok(told.length >= (isPartial ? 1 : CALLERS.length), told.join('; '));
  });

  /** Strikes at every operation until there is no more; returns how many there were. */
  async function walkAll(caller: Point['caller'], fault: Point['fault'], from: number): Promise<number> {
    return await walkLanes(walks, from, async (walk, at) => {
      try {
        return (await walk.strike({ caller, at, fault })) !== 'absent';
      } catch (cause) {
        throw new Error(`${caller}, operation ${at}, ${fault}: ${walk.what}`, { cause });
      }
    });
  }
});
