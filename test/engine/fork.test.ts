import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { NodeMajor, Person, Running } from '@forkpoint/testkit';
import { parse } from './helpers.ts';
import { childrenOf, command, gone, isAlive, launcherOf, living } from './pods.ts';

/** What a child of the scenario `identity` tells of itself. */
interface Facts {
  readonly id: string;
  readonly pid: number;
  readonly self: {
    readonly id: string;
    readonly parentId: string;
    readonly generation: number;
    readonly index: number;
    readonly args: readonly string[];
  };
  readonly env: string;
  readonly host: string;
  readonly uuid: string;
  readonly random: number;
}

const LIMIT_MS = 60_000;

function family(person: Person, node: NodeMajor, ...args: string[]): Running {
  return person.forkpoint(
    ['run', '--name', 'family', '--', nodeBinary(node), programPath('forking.cjs'), ...args],
    {
      timeoutMs: LIMIT_MS,
    },
  );
}

/** Returns the values of all lines with this name. */
function said<T>(output: string, name: string): T[] {
  return [...output.matchAll(new RegExp(`^${name} (.*)$`, 'gm'))].map((match) => parse<T>(match[1] ?? ''));
}

/** What is left of runs below a data directory, apart from the records of those that have ended. */
function leftovers(person: Person): string[] {
  return readdirSync(join(person.home, 'runs')).flatMap((id) => {
    const run = join(person.home, 'runs', id);
    const isOver =
      existsSync(join(run, 'state')) && readFileSync(join(run, 'state'), 'utf8').startsWith('exited');
    return isOver
      ? readdirSync(run)
          .filter((name) => name === 'forks')
          .map((name) => join(id, name))
      : [id];
  });
}

for (const node of [20, 22, 24, 26] as const) {
  describe(`fork() on Node ${node}`, () => {
    let person: Person;
    before(() => {
      person = createPerson();
    });
    after(async () => await person.leave());

    test('three children go on after the same await, each with an identity, streams and random values of its own, on the socket of the parent', async () => {
      const { code, stdout, stderr } = await family(person, node, 'identity').end();
      assert.equal(code, 0, stderr + stdout);
      assert.deepEqual(said(stdout, 'errors'), [0]);
      const facts = said<Facts>(stdout, 'facts');
      const [parent] = said<Pick<Facts, 'pid' | 'uuid' | 'random'>>(stdout, 'parent');
      assert.deepEqual(
        facts.map(({ self, host }) => [self.index, host]),
        [
          [0, 'clone-0'],
          [1, 'clone-1'],
          [2, 'clone-2'],
        ],
      );
      for (const { id, pid, self, env } of facts) {
        assert.equal(self.id, id);
        assert.equal(pid, parent?.pid, 'the pid is the same in each pod');
        assert.deepEqual([self.generation, self.args, env], [1, ['one', 'two'], 'red']);
      }
      assert.equal(new Set([parent, ...facts].map((one) => one?.uuid)).size, 4);
      assert.equal(new Set([parent, ...facts].map((one) => one?.random)).size, 4);
      const roles = ['child 0', 'child 1', 'child 2', 'parent'];
      assert.deepEqual(
        said(stdout, 'hits')[0],
        roles.map((role) => `${role} entry 9999`),
      );
      assert.deepEqual(said(stdout, 'streams'), [['printed\n', 'complained\n']]);
      assert.deepEqual(said(stdout, 'stdin'), ['stdin hello']);
      const [again] = said<{ generation: number; parent: string; end: object }>(stdout, 'again');
      assert.deepEqual(again, {
        generation: 2,
        parent: facts[1]?.id,
        end: { code: null, signal: 'SIGKILL' },
      });
      assert.deepEqual(said(stdout, 'ends')[0], [
        { code: 7, signal: null },
        { code: null, signal: 'SIGTERM' },
        { code: null, signal: 'SIGKILL' },
      ]);
      assert.deepEqual(said(stdout, 'after'), ['parent entry 9999']);
      assert.deepEqual(leftovers(person), []);
    });
  });
}

describe('a fork', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('channels carry values and large buffers in order, and lose and double nothing while the parent forks again and a child is checkpointed', async () => {
    const { code, stdout, stderr } = await family(person, 24, 'channels', './image').end();
    assert.equal(code, 0, stderr + stdout);
    assert.deepEqual(said(stdout, 'values'), [
      ['Map a,1', 'Float64Array 0,1.5', 'RangeError far', 'Date ', 'Object 1'],
    ]);
    assert.deepEqual([said(stdout, 'first'), said(stdout, 'second')], [[true], [true]]);
    assert.deepEqual(said(stdout, 'image'), [['continued']]);
    // To a child of the second fork the first children belong to somebody else.
    const [clone] = said<{ lost: string; end: object }>(stdout, 'clone');
    assert.equal(clone?.lost, 'ERR_FORKPOINT_CHANNEL_CLOSED');
    assert.deepEqual(clone?.end, { code: null, signal: null });
    assert.ok(existsSync(join(person.scratch, 'image', 'manifest.json')));
  });

  test('returns the children that live with the errors of the others, has listeners of its own or none, and can be given up', async () => {
    // Errors and output are one pipe here, and two in the children.
    const words = [command, 'run', '--', nodeBinary(24), programPath('forking.cjs'), 'options'];
    const { code, stdout, stderr } = await person
      .start(['sh', '-c', 'exec "$@" 2>&1', 'sh', ...words], { timeoutMs: LIMIT_MS })
      .end();
    assert.equal(code, 0, stderr + stdout);
    const [partly] = said<{ children: number; errors: string[] }>(stdout, 'partly');
    assert.equal(partly?.children, 1);
    assert.match(
      partly?.errors.join() ?? '',
      /^child [01] could not be started: [^]*The address 127\.0\.0\.1:\d+ is in use/,
    );
    assert.match(said<string>(stdout, 'own').join(), /^child [01] entry 9999$/);
    assert.deepEqual(said(stdout, 'streams'), [['printed\n', 'complained\n']]);
    assert.deepEqual(said(stdout, 'closed'), [['parent entry 9999']]);
    assert.deepEqual(said(stdout, 'aborted'), ['changed my mind']);
    assert.deepEqual(said(stdout, 'late'), ['too late']);
    assert.deepEqual(said(stdout, 'wrong'), ['ERR_FORKPOINT_OPTIONS']);
    assert.deepEqual(said(stdout, 'both'), [[1, 1]]);
    assert.deepEqual(leftovers(person), []);
  });

  for (const victim of ['program', 'inner launcher', 'outer launcher'] as const) {
    test(`leaves nothing behind when the parent's ${victim} is killed; a detached child lives on`, async () => {
      const running = family(person, 24, 'lives');
      await running.output(/^port /m);
      const [plain = [], detached = []] = [
        said<string[]>(running.stdout, 'plain')[0],
        said<string[]>(running.stdout, 'detached')[0],
      ];
      const [port = 0] = said<number>(running.stdout, 'port');
      const runs = await living(person);
      const parent = runs.find(({ name }) => name === 'family');
      assert.ok(parent);
      const children = runs.filter(({ id }) => [...plain, ...detached].includes(id));
      assert.deepEqual(
        children.map(({ parentId }) => parentId),
        [parent.id, parent.id, parent.id],
      );
      const inner = launcherOf(person, parent.id);
      const pods = plain.map((id) => launcherOf(person, id));
      const survivor = launcherOf(person, detached[0] ?? '');
      const targets = {
        program: () => childrenOf(inner).find((pid) => pid === parent.hostPid) ?? 0,
        'inner launcher': () => inner,
        'outer launcher': () => running.child.pid ?? 0,
      };
      process.kill(targets[victim](), 'SIGKILL');
      await gone([...pods, inner], 'the parent and its children');
      await running.end();
      await eventually(
        () => (plain.some((id) => existsSync(join(person.home, 'runs', id))) ? undefined : true),
        'their directories gone',
      );
      assert.ok(isAlive(survivor));
      assert.match(await fetchText(port, '/'), /^child 0 entry 9999$/);
      assert.deepEqual(
        (await living(person)).map(({ id }) => id),
        detached,
      );
      process.kill(survivor, 'SIGKILL');
      await gone([survivor], 'the detached child');
    });
  }
});
