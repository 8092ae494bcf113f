import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { bundle, compileDynamic, compilePreload } from './build.ts';
import { digestOf } from './image-digest.ts';
import { ERRORS, isFullWalk, REFUSALS, stepsFrom } from './fault-walk.ts';
import { changeOf, detach, digested, logged, revive } from './pods.ts';

/** What link-steps.ts tells of one attempt. */
interface Attempt {
  readonly struck: string;
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

  test('killed or refused at any step of linking: every image that was visible is whole, and restores', async (context) => {
    const { base, dump, held } = await dumpOfSecondGeneration();
    const target = join(person.scratch, 'work/image');
    const untouched = [digestOf(base), digestOf(dump)];
    const [without] = (await walk(dump, 'kill', 9_999)) ?? [];
    assert.deepEqual([without?.struck, without?.error, without?.beside], ['', null, 0]);
    const [old = '', linked = ''] = [untouched[1], without?.digest];
    assert.notEqual(linked, old);
    const seen = new Map<string, number>();
    for (const kind of ERRORS) {
      const refused = (await walk(dump, kind, REFUSALS.first)) ?? [];
      for (const [index, { struck, error, digest, beside }] of refused.entries()) {
        const step = REFUSALS.first + index * REFUSALS.stride;
        assert.ok(struck === '' || error !== null, `nobody heard of ${kind} at step ${step}: ${struck}`);
        assert.equal(beside, 0, `${kind} at step ${step}: ${error}`);
        seen.set(digest, step);
      }
      context.diagnostic(`${kind}: ${refused.length - 1} steps from ${REFUSALS.first} on`);
      assert.ok(refused.length > 10 / REFUSALS.stride, `${kind} has ${refused.length} steps`);
      assert.deepEqual([digestOf(base), digestOf(dump)], untouched, `${kind}: another image has changed`);
    }
    const kills = await stepsFrom(async (step) => {
      if ((await walk(dump, 'kill', step)) !== null) return false;
      seen.set(digestOf(join(person.scratch, 'work/image')), step);
      return true;
    });
    assert.deepEqual([digestOf(base), digestOf(dump)], untouched, 'killed, another image has changed');
    context.diagnostic(`killed at ${kills} steps`);
    assert.ok(kills > (isFullWalk ? 30 : 2), `killed at ${kills} steps`);
    assert.notEqual(await walk(dump, 'kill', 9_999), null);
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

  /** Walks the steps from `at` on; null when the process was killed at that step. */
  async function walk(
    dump: string,
    kind: (typeof ERRORS)[number] | 'kill',
    at: number,
    work = join(person.scratch, 'work'),
  ): Promise<Attempt[] | null> {
    const words = [nodeBinary(24), steps, work, dump, join(person.home, 'engine/native/current/launcher')];
    const faulty = { LD_PRELOAD: faults, FAULT_DIR: `${work}/`, FAULT_LOG: `${work}.struck` };
    const small = { NODE_COMPILE_CACHE: `${steps}.cache`, FORKPOINT_LINK_THRESHOLD: '1' };
    const env = {
      ...faulty,
      ...small,
      FAULT_KIND: kind,
      FAULT_AT: String(at),
      FAULT_STRIDE: String(REFUSALS.stride),
    };
    const { code, signal, stdout, stderr } = await person.start(words, { env }).end();
    if (signal === 'SIGKILL' && kind === 'kill') return null;
    assert.equal(code, 0, stderr);
    return JSON.parse(stdout) as Attempt[];
  }
});
