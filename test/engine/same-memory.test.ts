import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodeRestorePlan } from '@forkpoint/manifest';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { buildHazards } from './hazards.ts';
import { compareMemory, linkCopy, rseqAreas } from './memory.ts';
import type { Difference } from './memory.ts';
import { detach, launcherOf, living, logged } from './pods.ts';

/** A restore that stays as it is before the program does anything: CRIU leaves it stopped. */
interface Still {
  readonly restore: Running;
  readonly id: string;
  /** Host pids by the pid of the pod. */
  readonly pids: ReadonlyMap<number, number>;
}

describe('every readable page of a linked restore is that of the stock restore', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('of a C program and its child, page by page and from 8 pages on', async () => {
    const program = await buildHazards(person, 'hazards');
    const cases = ['tree', 'fork', 'realloc', 'aligned', 'calloc', 'file', 'guard', 'droppable', 'threads'];
    const image = join(person.scratch, 'hazards-plain');
    const taken = await person.finish(['run', '--', program, image, `${image}-2`, ...cases], {
      env: { HAZARDS_PLAIN: '1' },
    });
    assert.equal(taken.code, 0, taken.stderr);
    for (const threshold of [8, 1]) await compare(image, `${image}-linked-${threshold}`, threshold, 0.9);
  });

  test('of a Node program', async () => {
    const id = await detach(person, [nodeBinary(24), programPath('pulse.mjs')]);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, './node-plain', '--no-link', '--stop']);
    const image = join(person.scratch, 'node-plain');
    // A program of 12 MB has many short runs; with 50 MB more than 99% are linked (docs/allocators.md).
    await compare(image, `${image}-linked`, 8, 0.9);
  });

  /** Two stock restores and a linked one of the same moment: the linked one differs no more from stock than stock does. */
  async function compare(image: string, linked: string, threshold: number, share: number): Promise<void> {
    const reports = linkCopy(image, linked, threshold);
    const pages = reports.reduce((sum, one) => sum + one.pages, 0);
    const mapped = reports.reduce((sum, one) => sum + one.linked, 0);
    assert.ok(mapped / pages >= share, `${mapped} of ${pages} pages are linked`);
    const stills: Still[] = [];
    try {
      for (const one of [image, image, linked]) stills.push(await restoreStill(one));
      const [first, second, third] = stills;
      const rseq = rseqAreas(image);
      assert.ok((first?.pids.size ?? 0) > 0);
      for (const [pid, own] of first?.pids ?? []) {
        const control = compareMemory(own, second?.pids.get(pid) ?? 0, rseq);
        const result = compareMemory(own, third?.pids.get(pid) ?? 0, rseq);
        assert.ok(result.pages > 500, `${result.pages} pages were read`);
        assert.deepEqual(beyond(result, control), [], `pages of ${pid} that differ`);
      }
    } finally {
      for (const { id, restore } of stills) {
        process.kill(launcherOf(person, id), 'SIGKILL');
        await restore.end();
      }
    }
  }

  async function restoreStill(image: string): Promise<Still> {
    const known = new Set((await living(person)).map(({ id }) => id));
    const restore = person.forkpoint(['restore', image]);
    return await eventually(async () => {
      const run = (await living(person)).find(({ id }) => !known.has(id));
      if (run === undefined || run.processes.length === 0) return undefined;
      const log = readFileSync(join(person.home, 'runs', run.id, 'launcher.log'), 'utf8');
      if (!log.includes('CRIU took')) return undefined;
      // The launcher has processes of its own in the pod.
      const own = new Set(decodeRestorePlan(readFileSync(join(image, 'restore.plan'))).pids);
      const program = run.processes.filter(({ pid }) => own.has(pid));
      return { restore, id: run.id, pids: new Map(program.map(({ pid, hostPid }) => [pid, hostPid])) };
    }, `a restore of ${image}`);
  }
});

/** What differs here and not in the control. */
function beyond(result: Difference, control: Difference): string[] {
  const excused = new Set(control.different);
  return result.different.filter((address) => !excused.has(address)).map((address) => address.toString(16));
}
