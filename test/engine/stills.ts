import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeRestorePlan } from '@forkpoint/manifest';
import { eventually } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { compareMemory, linkCopy, rseqAreas } from './memory.ts';
import type { Difference } from './memory.ts';
import { launcherOf, living } from './pods.ts';

/** A restore that stays as it is before the program does anything: CRIU leaves it stopped. */
interface Still {
  readonly restore: Running;
  readonly id: string;
  /** Host pids by the pid of the pod. */
  readonly pids: ReadonlyMap<number, number>;
}

/**
 * Two stock restores and a linked one of the same moment, of an image taken with --no-link: the linked one differs no more from stock
 * than stock does. At least `share` of the pages must be linked, and code among them when the program `makesCode`.
 */
export async function compareRestores(
  person: Person,
  image: string,
  linked: string,
  { threshold, share, makesCode }: { threshold: number; share: number; makesCode: boolean },
): Promise<void> {
  const reports = linkCopy(image, linked, threshold);
  const pages = reports.reduce((sum, one) => sum + one.pages, 0);
  const mapped = reports.reduce((sum, one) => sum + one.linked, 0);
  assert.ok(mapped / pages >= share, `${mapped} of ${pages} pages are linked`);
  const stills: Still[] = [];
  try {
    for (const one of [image, image, linked]) stills.push(await restoreStill(person, one));
    const [first, second, third] = stills;
    const rseq = rseqAreas(image);
    assert.ok((first?.pids.size ?? 0) > 0);
    for (const [pid, own] of first?.pids ?? []) {
      const control = compareMemory(own, second?.pids.get(pid) ?? 0, rseq);
      const result = compareMemory(own, third?.pids.get(pid) ?? 0, rseq);
      assert.ok(result.pages > 500, `${result.pages} pages were read`);
      assert.deepEqual(beyond(result, control), [], `pages of ${pid} that differ`);
    }
    const maps = [...(third?.pids.values() ?? [])].map((pid) => readFileSync(`/proc/${pid}/maps`, 'utf8'));
    const isCodeMapped = maps.some((text) => /^\S+ r.xp .*\.pages$/m.test(text));
    assert.equal(isCodeMapped, makesCode, maps.join('\n'));
  } finally {
    for (const { id, restore } of stills) {
      process.kill(launcherOf(person, id), 'SIGKILL');
      await restore.end();
    }
  }
}

async function restoreStill(person: Person, image: string): Promise<Still> {
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
/** What differs here and not in the control. */
function beyond(result: Difference, control: Difference): string[] {
  const excused = new Set(control.different);
  return result.different.filter((address) => !excused.has(address)).map((address) => address.toString(16));
}
