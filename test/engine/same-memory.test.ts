import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { buildHazards } from './hazards.ts';
import { detach, logged } from './pods.ts';
import { compareRestores } from './stills.ts';

describe('every readable page of a linked restore is that of the stock restore', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('of a C program and its child, page by page and from 8 pages on', async () => {
    const program = await buildHazards(person, 'hazards');
    const memory = ['realloc', 'aligned', 'calloc', 'file', 'guard', 'droppable', 'executable'];
    const cases = ['tree', 'fork', ...memory, 'threads'];
    const image = join(person.scratch, 'hazards-plain');
    const taken = await person.finish(['run', '--', program, image, `${image}-2`, ...cases], {
      env: { HAZARDS_PLAIN: '1' },
    });
    assert.equal(taken.code, 0, taken.stderr);
    for (const threshold of [8, 1])
      await compareRestores(person, image, `${image}-linked-${threshold}`, {
        threshold,
        share: 0.9,
        makesCode: true,
      });
  });

  test('of a Node program', async () => {
    const id = await detach(person, [nodeBinary(24), programPath('pulse.mjs')]);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, './node-plain', '--no-link', '--stop']);
    const image = join(person.scratch, 'node-plain');
    // A program of 12 MB has many short runs; with 50 MB more than 99% are linked (docs/allocators.md).
    await compareRestores(person, image, `${image}-linked`, { threshold: 8, share: 0.9, makesCode: true });
  });
});
