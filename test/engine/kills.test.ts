import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { isFullWalk } from './fault-walk.ts';
import { detach, gone, isAlive, revive } from './pods.ts';
import { ask, beat, drafts, haltAt, pairNamed, pairOf, signal, statesOf, STEPS } from './walk.ts';
import type { Halted, Pair, Step } from './walk.ts';

const IMAGE = './walked';

/** Two of the six steps for each victim, drawn anew in every test run so that all steps are among them; all with `npm run faults`. */
const turn = Math.floor(Date.now() / 1000);
const stepsOf = (victim: number): Step[] =>
  STEPS.filter((_, index) => isFullWalk || (index + victim + turn) % 3 === 0);

const program = [nodeBinary(24), programPath('pair.cjs'), '40'];

/** Returns the id of the image at the destination: it changes when the image is replaced. */
function idOf(person: Person): string {
  return (JSON.parse(readFileSync(join(person.scratch, IMAGE, 'manifest.json'), 'utf8')) as { id: string })
    .id;
}

describe('whoever is killed in the course of a checkpoint', () => {
  let person: Person;
  before(async () => {
    person = createPerson();
    const id = await detach(person, program);
    const pair = await pairNamed(person, id);
    await beat(pair);
    await person.json(['checkpoint', id, IMAGE]);
    process.kill(pair.launcher, 'SIGKILL');
  });
  after(async () => await person.leave());

  /** Checks that both processes are well and alone in their pod, and that a checkpoint can be taken. */
  async function assertWell(pair: Pair, digest?: string): Promise<void> {
    const now = await beat(pair);
    if (digest !== undefined) assert.equal(now, digest, 'its memory is as it was');
    const told = await ask(person, pair, IMAGE);
    assert.equal(told?.outcome, 'done', told?.message);
    assert.equal(told.id, idOf(person));
    await eventually(
      () => (statesOf(pair).length === 2 ? true : undefined),
      `nothing but the program in its pod: ${statesOf(pair).join(', ')}`,
    );
    for (const state of statesOf(pair)) assert.match(state, / [SRD]$/);
    assert.deepEqual(drafts(person), []);
    assert.equal(await beat(pair), now);
  }

  /** Kills somebody at a step and returns what the asker was told. */
  async function killAt(pair: Pair, step: Step, victim: (halted: Halted) => number): Promise<string> {
    let asked: ReturnType<typeof ask> = Promise.resolve(null);
    const halted = await haltAt(person, pair, step, () => {
      asked = ask(person, pair, IMAGE);
    });
    const old = idOf(person);
    signal(victim(halted), 'SIGKILL');
    halted.release();
    const told = await asked;
    assert.equal(idOf(person) !== old, told?.outcome === 'done', 'who asked was told what has happened');
    return told?.message ?? told?.outcome ?? 'gone';
  }

  describe('the whole pod ends, and the image that was there stays', () => {
    for (const step of stepsOf(0))
      test(`the program’s first process, at ${step}`, async () => {
        const pair = await pairNamed(person, await revive(person, IMAGE));
        await beat(pair);
        const pids = [pair.launcher, ...pairOf(pair)];
        await killAt(pair, step, () => pids[1] ?? 0);
        await gone(pids, 'the pod');
        assert.equal(readFileSync(join(person.home, 'runs', pair.id, 'state'), 'utf8'), 'exited 137\n');
        assert.deepEqual(drafts(person, pair.id), []);
      });

    for (const step of stepsOf(1))
      test(`pid 1 of the pod, at ${step}`, async () => {
        const pair = await pairNamed(person, await revive(person, IMAGE));
        await beat(pair);
        const pids = [pair.launcher, ...pairOf(pair)];
        assert.equal(await killAt(pair, step, () => pair.launcher), 'gone');
        await gone(pids, 'the pod');
      });

    for (const step of stepsOf(2))
      test(`the command in the foreground, at ${step}`, async () => {
        const name = `fore-${step}`;
        const outer = person.forkpoint(['restore', IMAGE, '--name', name]);
        const pair = await pairNamed(person, name, outer);
        await beat(pair);
        const pids = [pair.launcher, ...pairOf(pair)];
        assert.ok(pids.every(isAlive));
        await killAt(pair, step, () => outer.child.pid ?? 0);
        await gone(pids, 'the pod');
      });
  });

  describe('the program is left as it was, and the next checkpoint works', () => {
    let pair: Pair;
    before(async () => {
      pair = await pairNamed(person, await detach(person, program));
      await beat(pair);
    });

    test('another run: what it has left is removed', async () => await assertWell(pair));

    for (const step of stepsOf(0))
      test(`the worker, at ${step}`, async () => {
        const digest = await beat(pair);
        assert.match(await killAt(pair, step, ({ worker }) => worker), /worker ended early/);
        await assertWell(pair, digest);
      });

    for (const step of stepsOf(1))
      test(`the command that asked, at ${step}`, async () => {
        const digest = await beat(pair);
        let command: Running | undefined;
        const halted = await haltAt(person, pair, step, () => {
          command = person.forkpoint(['checkpoint', pair.id, IMAGE]);
        });
        command?.child.kill('SIGKILL');
        halted.release();
        await command?.end();
        await assertWell(pair, digest);
      });

    for (const step of stepsOf(2))
      test(`a process of the program, at ${step}`, async () => {
        const [, child = 0] = pairOf(pair);
        await killAt(pair, step, () => child);
        await gone([child], 'the child');
        await assertWell(pair);
      });

    // Killed while it puts its code into a process, CRIU leaves one that nobody can put right (docs/troubleshooting.md): then
    // that process dies, and is not half alive.
    test('CRIU, at dump, or the process ends that it was just working on', async () => {
      const digest = await beat(pair);
      const before = pairOf(pair);
      assert.match(await killAt(pair, 'dump', ({ criu }) => criu), /criu/);
      const beats = (): number => [...pair.log().matchAll(/^beat /gm)].length;
      const count = beats();
      const hasEnded = await eventually(() => {
        if (!isAlive(pair.launcher)) return true;
        signal(pairOf(pair)[0] ?? pair.launcher, 'SIGUSR1');
        return beats() > count ? false : undefined;
      }, 'the program answering, or its end');
      if (hasEnded) return;
      await assertWell(pair, pairOf(pair).join() === before.join() ? digest : undefined);
    });
  });
});
