import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { parse } from './helpers.ts';
import { gone, living } from './pods.ts';

/** What a clone prints of itself. */
interface Facts {
  readonly id: string;
  readonly args: readonly string[];
  readonly colour: string;
  readonly worker: string;
  readonly hooks: number;
  readonly uuid: string;
  readonly since: number;
}

describe('a pool of clones', () => {
  let person: Person;
  before(async () => {
    person = createPerson();
    const { code, stderr } = await person.finish([
      'run',
      '--',
      nodeBinary(24),
      programPath('pooled.cjs'),
      './image',
    ]);
    assert.equal(code, 0, stderr);
  });
  after(async () => await person.leave());

  function pooling(scenario: string): Running {
    return person.start([
      nodeBinary(24),
      programPath('pooling.mjs'),
      scenario,
      join(person.scratch, 'image'),
    ]);
  }

  /** What is left of clones. */
  function leftovers(): string[] {
    const cache = readdirSync(join(person.home, 'cache')).filter((name) => name.startsWith('fork-'));
    return [...readdirSync(join(person.home, 'runs')).slice(1), ...cache];
  }

  test('hands over clones that stand ready, each with arguments, variables and randomness of its own, replaces them and ends them', async () => {
    const running = pooling('life');
    const { code, stdout, stderr } = await running.end();
    assert.equal(code, 0, stderr + stdout);
    const said = <T>(name: string): T[] =>
      [...stdout.matchAll(new RegExp(`^${name} (.*)$`, 'gm'))].map((match) => parse<T>(match[1] ?? ''));
    assert.deepEqual(said('counts'), [{ parked: 2, starting: 0, live: 0 }]);
    const [parked = []] = said<boolean[]>('parked');
    // The third and fourth come from a direct restore.
    assert.deepEqual(parked, [true, true, false, false]);
    const facts = said<Facts>('facts');
    assert.deepEqual(
      facts.map(({ id }) => id),
      said<string[]>('ids')[0],
    );
    assert.deepEqual(
      facts.map(({ args, colour, worker, hooks }) => [args, colour, worker, hooks]),
      [
        [['one', 'x'], 'red', 'red', 2],
        [['two'], 'grey', 'grey', 1],
        [['three'], 'grey', 'grey', 1],
        [['four'], 'grey', 'grey', 1],
      ],
    );
    assert.equal(new Set(facts.map(({ uuid }) => uuid)).size, 4);
    assert.deepEqual(said('served'), [['served one', 'served two', 'served three', 'served four']]);
    assert.deepEqual(said('end'), [{ code: null, signal: 'SIGTERM' }]);
    assert.deepEqual(said('dead'), [[true, 'dead']]);
    assert.deepEqual(said('drained'), [{ parked: 0, starting: 0, live: 3 }]);
    assert.deepEqual([said('refused'), said('lives')], [['ERR_FORKPOINT_POOL'], ['served two']]);
    assert.deepEqual(said('closed'), [{ parked: 0, starting: 0, live: 0 }]);
    assert.deepEqual(leftovers(), []);
  });

  test('replaces those that stand too long or have too much memory, and tells why none can be started', async () => {
    const { code, stdout, stderr } = await pooling('bounds').end();
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /^old "old"$/m);
    assert.match(stdout, /^memory "memory"$/m);
    assert.match(stdout, /^aborted "no more"$/m);
    assert.match(stdout, /^broken ".*nothing=1 names no slot of the image/m);
    assert.deepEqual(leftovers(), []);
  });

  test('ends with the process that has the pool, however that ends', async () => {
    const running = pooling('killed');
    const [, line = ''] = await running.output(/^ready (.*)$/m);
    const launchers = parse<number[]>(line);
    running.child.kill('SIGKILL');
    await running.end();
    await gone(launchers.slice(1), 'the clones');
    await eventually(async () => ((await living(person)).length === 0 ? true : undefined), 'no run left');
    await eventually(() => (leftovers().length === 0 ? true : undefined), 'nothing left of clones');
  });
});
