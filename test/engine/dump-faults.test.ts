import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { DumpWalk, VICTIMS } from './dump-walk.ts';
import type { Point } from './dump-walk.ts';
import { CALLERS } from './faulty-engine.ts';
import { isFullWalk } from './fault-walk.ts';

/** Steps among which a test run draws: a checkpoint has more of each. */
const DRAWN_FROM = { criu: 40, worker: 60, launcher: 1 };
/** Who does what to the store: CRIU and the worker write to it, the launcher only exchanges and answers. */
const FAULTS: readonly Point['fault'][] = ['space', 'io', 'files', ...VICTIMS];

/** The parts of a full walk that are wanted, `CALLER` or `CALLER,FAULT`; all when there is none. */
const PARTS = (process.env['FORKPOINT_FAULT_PARTS'] ?? '').split(' ').filter(Boolean);
const isWanted = (caller: string, fault: string): boolean =>
  PARTS.length === 0 || PARTS.includes(caller) || PARTS.includes(`${caller},${fault}`);

describe('whatever becomes of an operation on the store in the course of a checkpoint', () => {
  let walk: DumpWalk;
  before(async () => {
    walk = new DumpWalk();
    await walk.start();
  });
  after(async () => await walk.leave());

  test('the program goes on, every image is whole, and the next checkpoint holds every page that was changed', async (context) => {
    const told: string[] = [];
    const begun = Math.floor(Date.now() / 1000);
    for (const [turn, caller] of CALLERS.entries()) {
      for (const [index, fault] of FAULTS.entries()) {
        if (isFullWalk) {
          if (!isWanted(caller, fault)) continue;
          const line = `${caller}, ${fault}: ${await walkAll(caller, fault)} points`;
          // The whole takes an hour: whoever waits sees how far it is.
          console.log(line);
          told.push(line);
        } else if ((begun + index + turn * 3) % FAULTS.length === 0) {
          const at = 1 + (Date.now() % DRAWN_FROM[caller]);
          told.push(`${caller} at ${at}, ${fault}: ${await walk.strike({ caller, at, fault })}`);
        }
      }
    }
    for (const line of told) context.diagnostic(line);
    assert.ok(told.length >= (PARTS.length > 0 ? 1 : CALLERS.length), told.join('; '));
  });

  /** Strikes at every operation until there is no more; returns how many there were. */
  async function walkAll(caller: Point['caller'], fault: Point['fault']): Promise<number> {
    for (let at = 1; ; at++) {
      try {
        if ((await walk.strike({ caller, at, fault })) === 'absent') return at - 1;
      } catch (cause) {
        throw new Error(`${caller}, operation ${at}, ${fault}`, { cause });
      }
    }
  }
});
