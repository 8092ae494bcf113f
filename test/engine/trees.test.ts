import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, portOf, restoreAnywhere } from './helpers.ts';
import { common, firstDraws } from './draws.ts';
import { detach, living } from './pods.ts';

interface Counts {
  readonly parent: { readonly before: number; readonly after: number };
  readonly child: { readonly before: number; readonly after: number };
  readonly pid: number;
  readonly childPid: number;
}

interface Answers {
  readonly pushed: number;
}

const WHOLE = { child: 'hello', cat: 'through a pipe', shell: 'A PIPELINE', sleeps: true };

async function family(person: Person, node: 20 | 24 = 24): Promise<{ id: string; port: number }> {
  const id = await detach(person, [nodeBinary(node), programPath('family.cjs')]);
  return { id, port: await portOf(person, id) };
}

async function counts(port: number): Promise<Counts> {
  return parse<Counts>(await fetchText(port, '/counts'));
}

/** Checks that every child answers over its channel, in both directions and more than once. */
async function assertWhole(port: number): Promise<void> {
  for (let time = 0; time < 2; time++) {
    const { pushed, ...rest } = parse<Answers>(await fetchText(port));
    assert.deepEqual(rest, WHOLE);
    await eventually(async () => {
      const now = parse<Answers>(await fetchText(port));
      return now.pushed > pushed ? true : undefined;
    }, 'messages of the child');
  }
}

for (const node of [20, 24] as const) {
  describe(`a Node ${node} process with a forked child, cat, sleep and a shell pipeline`, () => {
    let person: Person;
    before(() => {
      person = createPerson();
    });
    after(async () => await person.leave());

    test('comes back whole in two restores at once, with different random values in parent and child', async () => {
      const { id, port } = await family(person, node);
      await assertWhole(port);
      await person.json(['checkpoint', id, './family']);
      await assertWhole(port);
      const image = join(person.scratch, 'family');
      const clones = await Promise.all([restoreAnywhere(person, image), restoreAnywhere(person, image)]);
      for (const clone of clones) await assertWhole(clone.port);
      for (const at of [port, ...clones.map((clone) => clone.port)]) {
        const { parent, child } = await counts(at);
        assert.deepEqual(
          [parent, child],
          [
            { before: 1, after: 1 },
            { before: 1, after: 1 },
          ],
        );
      }
      const draws = clones.map(({ run }) => firstDraws(person, run.id, ['parent', 'child']));
      assert.deepEqual(common(await Promise.all(draws)), []);
      // The next generation is as good as the first.
      const [clone] = clones;
      await person.json(['checkpoint', clone?.run.id ?? '', './second']);
      const again = await restoreAnywhere(person, join(person.scratch, 'second'));
      await assertWhole(again.port);
      assert.deepEqual((await counts(again.port)).child, { before: 2, after: 2 });
    });

    test('draws the same values in parent and child of two restores when told not to renew randomness', async () => {
      const { id } = await family(person, node);
      await person.json(['checkpoint', id, './equal']);
      const image = join(person.scratch, 'equal');
      const flags = ['--no-reseed'];
      const clones = await Promise.all([
        restoreAnywhere(person, image, { flags }),
        restoreAnywhere(person, image, { flags }),
      ]);
      const draws = await Promise.all(
        clones.map(({ run }) => firstDraws(person, run.id, ['parent', 'child'])),
      );
      assert.deepEqual(
        new Set(common(draws).map(({ role }) => role)),
        new Set(['parent', 'child']),
        'the test above can fail',
      );
    });
  });
}

describe('members of a tree', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('can ask for a checkpoint from inside, and the others take part', async () => {
    const { port } = await family(person);
    assert.equal(await fetchText(port, '/child'), '"continued"');
    const { parent, child } = await counts(port);
    assert.deepEqual(
      [parent, child],
      [
        { before: 1, after: 1 },
        { before: 1, after: 1 },
      ],
    );
    const clone = await restoreAnywhere(person, join(person.scratch, 'by-child'));
    await assertWhole(clone.port);
    assert.deepEqual((await counts(clone.port)).parent, { before: 1, after: 1 });
  });

  test('that ask at the same time are served one after the other', async () => {
    const { port } = await family(person);
    for (let time = 1; time <= 3; time++) {
      assert.deepEqual(parse(await fetchText(port, '/both')), ['continued', 'continued']);
      const { parent, child } = await counts(port);
      assert.deepEqual(
        [parent, child],
        [
          { before: 2 * time, after: 2 * time },
          { before: 2 * time, after: 2 * time },
        ],
      );
    }
    for (const image of ['by-parent', 'by-child']) {
      const clone = await restoreAnywhere(person, join(person.scratch, image));
      await assertWhole(clone.port);
    }
  });

  test('are all let go when the hook of one of them fails, which is named', async () => {
    const { id, port } = await family(person);
    await fetchText(port, '/refuse');
    const { childPid } = await counts(port);
    const refused = await person.finish(['checkpoint', id, './refused']);
    assert.equal(refused.code, 1);
    assert.match(refused.stderr, new RegExp(`process ${childPid} cannot take part: the child has a visitor`));
    assert.ok(!existsSync(join(person.scratch, 'refused')));
    await assertWhole(port);
    const { parent, child } = await counts(port);
    assert.deepEqual(child, { before: 1, after: 1 });
    assert.deepEqual(parent.before, parent.after);
    const [run] = (await living(person)).filter((one) => one.id === id);
    assert.ok((run?.processes.length ?? 0) >= 5);
    await fetchText(port, '/allow');
    await person.json(['checkpoint', id, './allowed']);
    await assertWhole(port);
  });
});
