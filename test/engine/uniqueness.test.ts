import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { drawClones, repeatsOf, startNameServer, SYSTEM_DRAWN, takeDrawing } from './draws-of-clones.ts';

for (const node of [20, 24] as const) {
  describe(`clones of a program on Node ${node} that has drawn from everything before`, () => {
    let person: Person;
    let names: Awaited<ReturnType<typeof startNameServer>>;
    before(async () => {
      person = createPerson();
      names = await startNameServer();
      await takeDrawing(person, node, './image', names.address);
    });
    after(async () => {
      await names.stop();
      await person.leave();
    });

    // `npm run uniqueness` does the same with 1,000.
    test('draw nothing alike: node:crypto, web crypto, Math.random, workers, dns, TLS, forms, and the pools of id libraries', async () => {
      const repeats = repeatsOf(await drawClones(person, './image', 8));
      assert.deepEqual(
        Object.entries(repeats).filter(([, count]) => count > 0),
        [],
      );
    });

    test('draw everything alike without the renewal, so that the comparison sees what there is', async () => {
      const repeats = repeatsOf(await drawClones(person, './image', 3, ['--no-reseed']));
      const different = Object.keys(repeats).filter((kind) => repeats[kind] === 0);
      assert.deepEqual(different, SYSTEM_DRAWN, JSON.stringify(repeats));
    });
  });
}
