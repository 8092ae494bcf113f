import assert from 'node:assert/strict';
import { appendFileSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { forkMany, growthOf } from './many-forks.ts';
import type { Held } from './many-forks.ts';
import { gone, living } from './pods.ts';

/** The only run's. */
function logOfLauncher(person: Person): string {
  const runs = join(person.home, 'runs');
  const [log] = readdirSync(runs).map((id) => join(runs, id, 'launcher.log'));
  assert.ok(log !== undefined);
  return log;
}

describe('a program that forks again and again', () => {
  let person: Person;
  beforeEach(() => {
    person = createPerson();
  });
  afterEach(async () => await person.leave());

  // `npm run forks` does it 3,000 times.
  test('leaves memory, descriptors, processes and files of everybody involved as they were', async () => {
    const looks = await forkMany(person, [15, 5]);
    assert.deepEqual(growthOf(looks), [], JSON.stringify(looks));
  });

  test('has one worker as long as its forks follow each other, another one when that is killed, and none for long; their log has a limit', async () => {
    const workers: number[] = [];
    const onLook = async ({ forks, worker }: Held): Promise<void> => {
      workers.push(worker);
      if (forks === 1) appendFileSync(logOfLauncher(person), `${'x'.repeat(1023)}\n`.repeat(5 << 10));
      if (forks === 2) process.kill(worker, 'SIGKILL');
      if (forks !== 3) return;
      // It is none of the program's processes.
      assert.equal((await living(person))[0]?.processes.length, 1);
      await gone([worker], 'a worker that nobody needs');
    };
    await forkMany(person, [4, 1], onLook, { FORKPOINT_SPARE_MS: '3000' });
    const [first, second, third, fourth] = workers;
    assert.equal(second, first);
    // The log of their launcher keeps its end, and what came after it.
    const log = readFileSync(logOfLauncher(person), 'utf8');
    assert.ok(log.length > 900_000 && log.length < 2 << 20, `${log.length} bytes`);
    assert.match(log, /x\nforkpoint: a fork froze the program for/);
    assert.doesNotMatch(log, /^x{1,1022}$/m);
    assert.equal(new Set([second, third, fourth]).size, 3, workers.join(' '));
  });
});
