import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { forkMany, growthOf } from './many-forks.ts';
import type { Held } from './many-forks.ts';
import { gone } from './pods.ts';

describe('a program that forks again and again', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  // `npm run forks` does it 3,000 times.
  test('leaves memory, descriptors, processes and files of everybody involved as they were', async () => {
    const looks = await forkMany(person, [15, 5]);
    assert.deepEqual(growthOf(looks), [], JSON.stringify(looks));
  });

  test('has one worker as long as its forks follow each other, another one when that is killed, and none for long', async () => {
    const workers: number[] = [];
    const onLook = async ({ forks, worker }: Held): Promise<void> => {
      workers.push(worker);
      if (forks === 2) process.kill(worker, 'SIGKILL');
      if (forks === 3) await gone([worker], 'a worker that nobody needs');
    };
    await forkMany(person, [4, 1], onLook, { FORKPOINT_SPARE_MS: '3000' });
    const [first, second, third, fourth] = workers;
    assert.equal(second, first);
    assert.equal(new Set([second, third, fourth]).size, 3, workers.join(' '));
  });
});
