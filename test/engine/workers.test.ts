import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { NodeMajor, Person } from '@forkpoint/testkit';
import { common, firstDraws } from './draws.ts';
import { parse, restoreAnywhere } from './helpers.ts';
import { childrenOf, detach, gone, launcherOf, logged, loggedMore, logOf, revive } from './pods.ts';

const KINDS = ['busy', 'wait', 'idle', 'ports', 'nest', 'wasm', 'pool'];
/** The kinds that leave the processor to others. */
const QUIET = ['wait', 'idle', 'ports', 'nest', 'pool'];
/** The kinds that print random values all the time. */
const DRAWING = ['busy', 'wait', 'ports', 'nest', 'nested', 'pool'];

/** A worker may have been interrupted between the drawing of its values and their printing. */
const SKIPPED = 1;

async function threads(
  person: Person,
  kinds: readonly string[],
  node: NodeMajor = 24,
  flags: readonly string[] = [],
): Promise<string> {
  const id = await detach(person, [nodeBinary(node), ...flags, programPath('threads.cjs'), ...kinds]);
  await logged(person, id, /^threads up$/m);
  return id;
}

/** Returns the host's pid of the program's first process. */
function programOf(person: Person, id: string): number {
  const isProgram = (pid: number): boolean =>
    !/^(forkpoint|fp-)/.test(readFileSync(`/proc/${pid}/comm`, 'utf8'));
  const pid = childrenOf(launcherOf(person, id)).find(isProgram);
  if (pid === undefined) throw new Error(`run ${id} has no program`);
  return pid;
}

function signal(person: Person, id: string, name: NodeJS.Signals): void {
  process.kill(programOf(person, id), name);
}

const BEAT = /^beat \d+ echo \d+ moved (.*)\.$/gm;
/** Workers may still be starting when a program has been restored, on a machine that is busy. */
const MOVE_MS = 60_000;

/** Asks how the workers are doing until each of them has moved on since the first answer. */
async function assertAlive(person: Person, id: string, kinds: readonly string[] = KINDS): Promise<void> {
  const still = new Set(kinds);
  const deadline = performance.now() + MOVE_MS;
  for (let isFirst = true; still.size > 0 && performance.now() < deadline; isFirst = false) {
    const asked = [...logOf(person, id).matchAll(BEAT)].length;
    signal(person, id, 'SIGUSR1');
    const [, moved] = await loggedMore(person, id, BEAT, asked);
    if (!isFirst) for (const kind of moved?.split(' ') ?? []) still.delete(kind);
  }
  assert.deepEqual([...still], [], 'workers that stand still');
  assert.doesNotMatch(logOf(person, id), /failed/);
}

/** Ends runs: their busy loops would slow down the tests after them. */
async function end(person: Person, ids: readonly string[]): Promise<void> {
  const pids = ids.map((id) => programOf(person, id));
  for (const pid of pids) process.kill(pid, 'SIGKILL');
  await gone(pids, 'the programs');
}

for (const node of [20, 24] as const) {
  describe(`worker threads on Node ${node}`, () => {
    let person: Person;
    before(() => {
      person = createPerson();
    });
    after(async () => await person.leave());

    test('go on in the original, in two restores at once and in their second generation, with random values of their own', async () => {
      const original = await threads(person, KINDS, node);
      await person.json(['checkpoint', original, './first']);
      await assertAlive(person, original);
      const clones = await Promise.all([revive(person, './first'), revive(person, './first')]);
      for (const clone of clones) await assertAlive(person, clone);
      assert.deepEqual(
        common(await Promise.all(clones.map((clone) => firstDraws(person, clone, DRAWING, SKIPPED)))),
        [],
      );
      await person.json(['checkpoint', clones[0] ?? '', './second']);
      await end(person, [original, ...clones]);
      const grandchildren = await Promise.all([revive(person, './second'), revive(person, './second')]);
      for (const clone of grandchildren) await assertAlive(person, clone);
      assert.deepEqual(
        common(await Promise.all(grandchildren.map((clone) => firstDraws(person, clone, DRAWING, SKIPPED)))),
        [],
      );
      await end(person, grandchildren);
    });

    test('draw the same values in two restores when told not to renew randomness', async () => {
      const id = await threads(person, KINDS, node);
      await person.json(['checkpoint', id, './equal', '--stop']);
      const flags = ['--no-reseed'];
      const clones = await Promise.all([revive(person, './equal', flags), revive(person, './equal', flags)]);
      const draws = await Promise.all(clones.map((clone) => firstDraws(person, clone, DRAWING, SKIPPED)));
      const roles = new Set(common(draws).map(({ role }) => role));
      for (const role of ['wait', 'nest', 'nested', 'pool'])
        assert.ok(roles.has(role), `${role}: the test above can fail`);
      await end(person, clones);
    });

    test('that are just being born are waited for, also with an environment of their own', async () => {
      const id = await threads(person, ['idle'], node);
      signal(person, id, 'SIGWINCH');
      await logged(person, id, /^own continued$/m);
      await assertAlive(person, id, ['idle', 'wait']);
      const clones = await Promise.all([revive(person, './own'), revive(person, './own')]);
      for (const clone of clones) await assertAlive(person, clone, ['idle', 'wait']);
      const draws = clones.map((clone) => firstDraws(person, clone, ['wait'], SKIPPED));
      assert.deepEqual(common(await Promise.all(draws)), []);
      await end(person, [id, ...clones]);
    });

    test('in a native call that does not end are named within the limit, and all go on', async () => {
      const kinds = ['native', 'busy', 'wait', 'idle', 'nest'];
      const id = await threads(person, kinds, node);
      signal(person, id, 'SIGHUP');
      await logged(person, id, /^native begins$/m);
      const refused = await person.finish(['checkpoint', id, './refused', '--timeout', '3']);
      assert.equal(refused.code, 1);
      assert.match(refused.stderr, /worker threads did not stop within \d+ ms: .*native/);
      assert.doesNotMatch(refused.stderr, /idle|busy|nest/);
      assert.ok(!existsSync(join(person.scratch, 'refused')));
      await assertAlive(person, id, kinds.slice(1));
      // A call that ends in time is waited for.
      const patient = person.json(['checkpoint', id, './patient']);
      await writeFile(join(person.scratch, 'gate'), 'open');
      await patient;
      await assertAlive(person, id, kinds.slice(1));
      await end(person, [id]);
    });

    test('are checkpointed with an inspector that listens, and a debugger attached to them', async () => {
      const id = await threads(person, QUIET, node, ['--inspect=127.0.0.1:0']);
      const [, port] = await logged(person, id, /listening on ws:\/\/127\.0\.0\.1:(\d+)/);
      const debug = person.start([nodeBinary(24), programPath('debugger.mjs'), port ?? '']);
      await debug.output(/^attached to \d+ workers$/m);
      await person.json(['checkpoint', id, './debugged']);
      await assertAlive(person, id, QUIET);
      debug.child.stdin?.write('evaluate 6 * 7\n');
      await debug.output(/^42$/m);
      const clone = await restoreAnywhere(person, join(person.scratch, 'debugged'));
      await assertAlive(person, clone.run.id, QUIET);
      const [target] = parse<{ type: string }[]>(await fetchText(clone.port, '/json'));
      assert.equal(target?.type, 'node', 'the inspector of the restored program answers');
      await debug.stop();
      await end(person, [id, clone.run.id]);
    });
  });
}

for (const node of [22, 26] as const) {
  test(`worker threads on Node ${node} go on in the original and in two restores at once, with random values of their own`, async () => {
    const person = createPerson();
    try {
      const original = await threads(person, KINDS, node);
      await person.json(['checkpoint', original, './image']);
      await assertAlive(person, original);
      await end(person, [original]);
      const clones = await Promise.all([revive(person, './image'), revive(person, './image')]);
      for (const clone of clones) await assertAlive(person, clone);
      const draws = clones.map((clone) => firstDraws(person, clone, DRAWING, SKIPPED));
      assert.deepEqual(common(await Promise.all(draws)), []);
    } finally {
      await person.leave();
    }
  });
}
