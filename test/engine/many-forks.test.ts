import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { forkMany, growthOf } from './many-forks.ts';

describe('a program that forks again and again', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  // `npm run forks` does it 3,000 times.
  test('leaves memory, descriptors, processes and files of everybody involved as they were', async () => {
    const looks = await forkMany(person, 30, 10);
    assert.deepEqual(growthOf(looks), [], JSON.stringify(looks));
  });
});
