import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { isFullWalk, isPartial, partOf, walkLanes } from './fault-walk.ts';
import { CALLERS } from './faulty-engine.ts';
import { ForkWalk, VICTIMS } from './fork-walk.ts';
import type { Victim } from './fork-walk.ts';

/** Operations on the store among which a test run draws: a fork has more of each. */
const DRAWN_FROM = { criu: 40, worker: 60, launcher: 12 };

const LANES = isFullWalk ? 3 : 1;

describe('whoever is killed at any step of a fork', () => {
  const walks: ForkWalk[] = [];
  before(() => {
    for (let lane = 0; lane < LANES; lane++) walks.push(new ForkWalk());
  });
  after(async () => await Promise.all(walks.map(async (walk) => await walk.leave())));

  test('nothing is left of the family but who was not to die, and `ps` tells the truth', async (context) => {
    const told: string[] = [];
    const begun = Math.floor(Date.now() / 1000);
    for (const [turn, caller] of CALLERS.entries()) {
      for (const [index, victim] of VICTIMS.entries()) {
        if (isFullWalk) {
          const from = partOf(caller, victim);
          if (from === undefined) continue;
          const line = `${caller}, ${victim}: ${await walkAll(caller, victim, from)} points`;
          // The whole takes hours: whoever waits sees how far it is.
          console.log(line);
          told.push(line);
        } else if ((begun + index + turn * 2) % 4 === 0) {
          const at = 1 + (Date.now() % DRAWN_FROM[caller]);
          const came = await walks[0]?.strike({ caller, at, victim });
          told.push(`${caller} at ${at}, ${victim}: ${came}`);
        }
      }
    }
    for (const line of told) context.diagnostic(line);
    assert.ok(told.length >= (isPartial ? 1 : CALLERS.length), told.join('; '));
  });

  /** Strikes at every operation until there is no more; returns at how many of them there was somebody to kill. */
  async function walkAll(caller: (typeof CALLERS)[number], victim: Victim, from: number): Promise<string> {
    let struck = 0;
    const points = await walkLanes(walks, from, async (walk, at) => {
      try {
        const came = await walk.strike({ caller, at, victim });
        if (came === 'struck') struck++;
        return came !== 'absent';
      } catch (cause) {
        throw new Error(`${caller}, operation ${at}, ${victim}: ${walk.what}`, { cause });
      }
    });
    return `${struck} of ${points}`;
  }
});
