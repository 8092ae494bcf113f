import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { bundle, compileDynamic, compilePreload } from './build.ts';
import { digestOf } from './image-digest.ts';
import { changeOf, detach, digested, logged, revive } from './pods.ts';

/** What link-steps.ts tells of one attempt. */
interface Attempt {
  readonly struck: boolean;
  readonly error: string | null;
  readonly digest: string;
  readonly beside: number;
}

describe('an image that is linked and takes the place of another', () => {
  let person: Person;
  let faults: string;
  let steps: string;
  let program: string;
  before(async () => {
    person = createPerson();
    faults = join(person.scratch, 'faults.so');
    steps = join(person.scratch, 'steps.mjs');
    program = join(person.scratch, 'chain');
    await compilePreload(programPath('c/faults.c'), faults);
    await compileDynamic(programPath('c/chain.c'), program);
    await bundle('link-steps.ts', steps);
  });
  after(async () => await person.leave());

  test('killed or out of space at any step of linking: every image that was visible is whole, and restores', async (context) => {
    const { base, dump, held } = await dumpOfSecondGeneration();
    const target = join(person.scratch, 'work-1/image');
    const untouched = [digestOf(base), digestOf(dump)];
    const [without] = (await walk(dump, 'kill', 9_999)) ?? [];
    assert.deepEqual([without?.struck, without?.error, without?.beside], [false, null, 0]);
    const [old = '', linked = ''] = [untouched[1], without?.digest];
    assert.notEqual(linked, old);
    const seen = new Map<string, number>();
    const full = (await walk(dump, 'space', 1)) ?? [];
    for (const [index, { struck, error, digest, beside }] of full.entries()) {
      assert.ok(!struck || error !== null, `nobody heard of step ${index + 1}`);
      assert.equal(beside, 0, `step ${index + 1}: ${error}`);
      seen.set(digest, index + 1);
    }
    assert.deepEqual([digestOf(base), digestOf(dump)], untouched, 'out of space, another image has changed');
    const kills = (await Promise.all([killed(dump, 1, seen), killed(dump, 2, seen)])).reduce((a, b) => a + b);
    assert.deepEqual([digestOf(base), digestOf(dump)], untouched, 'killed, another image has changed');
    context.diagnostic(`${full.length - 1} steps that take space, ${kills} steps in all`);
    assert.ok(full.length > 20 && kills > full.length, `${full.length} and ${kills} steps`);
    // With the step at which it was seen last.
    assert.deepEqual([...seen.keys()].sort(), [old, linked].sort(), JSON.stringify([...seen]));
    for (const whole of [base, dump, target])
      assert.equal(
        await changeOf(person, await revive(person, whole), false),
        held.get(whole) ?? held.get(dump),
        whole,
      );
  });

  /** A dump that is not linked yet, of a process that was restored: what it has not changed lies in its base's layers. */
  async function dumpOfSecondGeneration(): Promise<{
    base: string;
    dump: string;
    held: Map<string, string>;
  }> {
    const [base, dump] = [join(person.scratch, 'base'), join(person.scratch, 'dump')];
    const id = await detach(person, [program, '1', '20']);
    await logged(person, id, /^up$/m);
    const first = await changeOf(person, id, false);
    await person.json(['checkpoint', id, base, '--stop']);
    const next = await revive(person, base);
    const second = await changeOf(person, next);
    await person.json(['checkpoint', next, dump, '--no-link', '--stop']);
    assert.equal(readdirSync(join(dump, 'layers')).length, 1);
    await Promise.all([base, dump].map(digested));
    return {
      base,
      dump,
      held: new Map([
        [base, first],
        [dump, second],
      ]),
    };
  }

  /** Kills at every second step from `first` on, notes what was visible, and returns how many there were. */
  async function killed(dump: string, first: number, seen: Map<string, number>): Promise<number> {
    const work = join(person.scratch, `work-${first}`);
    for (let step = first, count = 0; ; step += 2, count++) {
      if ((await walk(dump, 'kill', step, work)) !== null) return count;
      seen.set(digestOf(join(work, 'image')), step);
    }
  }

  /** Walks the steps from `at` on; null when the process was killed at that step. */
  async function walk(
    dump: string,
    kind: 'space' | 'kill',
    at: number,
    work = join(person.scratch, 'work'),
  ): Promise<Attempt[] | null> {
    const words = [nodeBinary(24), steps, work, dump, join(person.home, 'engine/native/current/launcher')];
    const faulty = { LD_PRELOAD: faults, FAULT_DIR: `${work}/`, FAULT_LOG: `${work}.struck` };
    const small = { NODE_COMPILE_CACHE: `${steps}.cache`, FORKPOINT_LINK_THRESHOLD: '1' };
    const env = { ...faulty, ...small, FAULT_KIND: kind, FAULT_AT: String(at) };
    const { code, signal, stdout, stderr } = await person.start(words, { env }).end();
    if (signal === 'SIGKILL' && kind === 'kill') return null;
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Attempt[];
  }
});
