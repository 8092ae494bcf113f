import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isFullWalk } from './fault-walk.ts';
import { CALLERS } from './faulty-engine.ts';
import { ForkWalk, VICTIMS } from './fork-walk.ts';
import type { Victim } from './fork-walk.ts';

/** Operations on the store among which a test run draws: a fork has more of each. */
const DRAWN_FROM = { criu: 40, worker: 60, launcher: 12 };

describe('whoever is killed at any step of a fork', () => {
  let walk: ForkWalk;
  before(() => {
    walk = new ForkWalk();
  });
  after(async () => await walk.leave());

  test('nothing is left of the family but who was not to die, and `ps` tells the truth', async (context) => {
    const told: string[] = [];
    const begun = Math.floor(Date.now() / 1000);
    for (const [turn, caller] of CALLERS.entries()) {
      for (const [index, victim] of VICTIMS.entries()) {
        if (isFullWalk) told.push(`${caller}, ${victim}: ${await walkAll(caller, victim)} points`);
        else if ((begun + index + turn * 2) % 4 === 0) {
          const at = 1 + (Date.now() % DRAWN_FROM[caller]);
          const came = await walk.strike({ caller, at, victim });
          told.push(`${caller} at ${at}, ${victim}: ${came}`);
        }
      }
    }
    for (const line of told) context.diagnostic(line);
    assert.ok(told.length >= CALLERS.length, told.join('; '));
  });

  /** Strikes at every operation until there is no more; returns how many there were. */
  async function walkAll(caller: (typeof CALLERS)[number], victim: Victim): Promise<number> {
    for (let at = 1; ; at++) {
      try {
        if ((await walk.strike({ caller, at, victim })) === 'absent') return at - 1;
      } catch (cause) {
        throw new Error(`${caller}, operation ${at}, ${victim}`, { cause });
      }
    }
  }
});
