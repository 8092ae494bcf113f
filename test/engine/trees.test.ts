import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, portOf, restoreAnywhere } from './helpers.ts';
import { common, firstDraws } from './draws.ts';
import { detach, living, logged, loggedMore, logOf, revive } from './pods.ts';

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

test('a Node process whose environment was emptied is named by the checkpoint that it takes no part in', async () => {
  const person = createPerson();
  const program = "console.log('up'); setInterval(() => undefined, 1000)";
  // Newer ones have an io_uring then, and are refused for it.
  const id = await detach(person, ['sh', '-c', `env -i ${nodeBinary(20)} -e "${program}"; exit`]);
  await logged(person, id, /^up$/m);
  for (const words of [['--dry-run'], ['./stranger']]) {
    const { code, stderr } = await person.finish(['checkpoint', id, ...words]);
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Warning: process \d+ \(.*node.*\) has not loaded forkpoint: .*equal in all clones/);
  }
  await person.leave();
});

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
    // Copies, because a clone in which the other process still waited asks again, and replaces that one's image.
    for (const image of ['by-parent', 'by-child'])
      assert.equal((await person.start(['cp', '-a', image, `${image}-copy`]).end()).code, 0);
    for (const image of ['by-parent-copy', 'by-child-copy']) {
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

describe('the states of processes', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  /** Returns what the program says of its signals, groups, sessions and children. */
  async function described(id: string): Promise<string> {
    const count = [...logOf(person, id).matchAll(/^Sig/gm)].length;
    await person.finish(['kill', id, '--signal', 'USR1']);
    const [line] = await loggedMore(person, id, /^Sig.*(?=\n)/gm, count);
    return line;
  }

  async function undone(id: string): Promise<string[]> {
    await person.finish(['kill', id, '--signal', 'TERM']);
    assert.equal((await person.finish(['wait', id])).code, 3);
    return logOf(person, id).trimEnd().split('\n').slice(-4);
  }

  const UNDONE = [`exited ${7 << 8}`, 'killed 9', 'stopped continues', 'usr2 1'];

  test('pending and blocked signals, zombies, stopped children, groups and sessions are as before over two generations', async () => {
    const original = await detach(person, ['perl', programPath('states.pl')]);
    await logged(person, original, /^ready$/m);
    const description = await described(original);
    assert.match(description, /ShdPnd=0{13}800 SigBlk=0{12}2800 .*exited \d+ Z.*killed \d+ Z.*stopped \d+ T/);
    await person.json(['checkpoint', original, './one']);
    assert.equal(await described(original), description, 'the original');
    const clone = await revive(person, './one');
    assert.equal(await described(clone), description, 'the first generation');
    await person.json(['checkpoint', clone, './two', '--stop']);
    const grandchild = await revive(person, './two');
    assert.equal(await described(grandchild), description, 'the second generation');
    assert.deepEqual(await undone(grandchild), UNDONE);
    assert.deepEqual(await undone(original), UNDONE);
  });
});

describe('a cluster of two workers behind one port', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  for (const [policy, node] of [
    ['rr', 24],
    ['none', 24],
    ['rr', 20],
  ] as const) {
    test(`goes on in two restores at once (scheduling ${policy}, Node ${node})`, async () => {
      const id = await detach(
        person,
        [nodeBinary(node), programPath('cluster.cjs')],
        ['--env', `NODE_CLUSTER_SCHED_POLICY=${policy}`],
      );
      const port = await portOf(person, id);
      await assertBothAnswer(port);
      await person.json(['checkpoint', id, `./${policy}${node}`]);
      await assertBothAnswer(port);
      const image = join(person.scratch, `${policy}${node}`);
      const clones = await Promise.all([restoreAnywhere(person, image), restoreAnywhere(person, image)]);
      for (const clone of clones) await assertBothAnswer(clone.port);
      const draws = clones.map(({ run }) => firstDraws(person, run.id, ['primary', 'worker1', 'worker2']));
      assert.deepEqual(common(await Promise.all(draws)), []);
      await person.json(['checkpoint', clones[0]?.run.id ?? '', './again']);
      const again = await restoreAnywhere(person, join(person.scratch, 'again'));
      await assertBothAnswer(again.port);
      // A worker that dies is replaced, as before.
      await fetchText(again.port, '/die').catch(() => undefined);
      await logged(person, again.run.id, /^a worker has ended$/m);
      await assertBothAnswer(again.port);
    });
  }
});

/** Asks on connections of their own until two workers have answered, each of which the primary answers by message. */
async function assertBothAnswer(port: number): Promise<void> {
  const seen = new Set<number>();
  await eventually(async () => {
    const { pid, primary } = parse<{ pid: number; primary: string }>(await fetchText(port));
    assert.equal(primary, 'at your service');
    return seen.add(pid).size >= 2 ? true : undefined;
  }, 'answers of two workers');
}
