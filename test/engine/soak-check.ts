// What has to hold after every step of a soak, and what may be left at its end.
import assert from 'node:assert/strict';
import { existsSync, lstatSync, readdirSync, readFileSync, statSync, utimesSync } from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@forkpoint/testkit';
import { listDirectory, listRuns, readManifest, verifyImage } from '@forkpoint/store';
import type { World } from './soak-world.ts';

/** Images that were verified and have not changed since. */
export type Verified = Map<string, string>;

/** Checks that living programs answer with their memory, and that every visible image is whole. */
export async function checkStep(world: World, verified: Verified): Promise<void> {
  for (const [slot, run] of world.runs) {
    assert.ok(world.isLiving(run), `run ${run.id} in ${slot} has ended`);
    await world.checkRun(run);
  }
  for (const directory of [join(world.person.home, 'images'), world.small]) {
    const { images, damaged } = await listDirectory(directory);
    assert.deepEqual(damaged, [], 'a half image is seen');
    for (const { path } of images) await checkImage(world, path, verified);
  }
}

async function checkImage(world: World, path: string, verified: Verified): Promise<void> {
  // Workers flatten and add digests behind the answer: what was replaced while it was read is read again.
  for (let tries = 0; tries < 5; tries++) {
    const stamp = stampOf(path);
    if (stamp === undefined || verified.get(path) === stamp) return;
    try {
      const { id, origin } = await readManifest(path);
      const digest = world.digestOfRun.get(origin.run);
      assert.ok(digest !== undefined, `${path} is of the unknown run ${origin.run}`);
      world.digestOfImage.set(id, digest);
      const { problems } = await verifyImage(path);
      assert.deepEqual(problems, [], path);
      verified.set(path, stamp);
      return;
    } catch (error) {
      if (stampOf(path) === stamp) throw error;
    }
  }
}

function stampOf(path: string): string | undefined {
  const facts = statSync(path, { bigint: true, throwIfNoEntry: false });
  return facts === undefined ? undefined : `${facts.dev} ${facts.ino} ${facts.ctimeNs}`;
}

/** Restores every image that there is, and looks whether it is what it was. Returns how many there were. */
export async function restoreAll(world: World): Promise<number> {
  let count = 0;
  for (const directory of [join(world.person.home, 'images'), world.small]) {
    for (const { path, id } of (await listDirectory(directory)).images) {
      const { code, stdout, stderr } = await world.command(['restore', path, '-d', '--json']);
      assert.equal(code, 0, `${path}: ${stderr}`);
      const run = (JSON.parse(stdout) as { id: string }).id;
      const digest = String(world.digestOfImage.get(id));
      await world.checkRun({ id: run, digest });
      await world.end({ id: run, digest });
      count++;
    }
  }
  return count;
}

/** Ends everything and checks that nothing is left: no process, mount, FIFO, lock or temporary file. */
export async function checkEnd(world: World): Promise<void> {
  const { home, scratch } = world.person;
  // A command that was killed may have started a run: it is a run as any other, and listed.
  for (const { id, isAlive } of await listRuns(join(home, 'runs')))
    if (isAlive) await world.end({ id, digest: '' });
  world.runs.clear();
  await eventually(
    () => (processesOf(home).length === 0 ? true : undefined),
    `the end of ${processesOf(home).join(', ')}`,
    60_000,
  ).catch(() => undefined);
  assert.deepEqual(processesOf(home), [], 'processes are left');
  // What a launcher that was killed at its very beginning has left goes after ten minutes.
  for (const name of readdirSync(join(home, 'runs')))
    if (!existsSync(join(home, 'runs', name, 'run.json'))) utimesSync(join(home, 'runs', name), 1, 1);
  const { code, stderr } = await world.command(['gc', './small']);
  assert.equal(code, 0, stderr);
  const entries = [...below(home), ...below(scratch)];
  assert.deepEqual(
    entries.filter((path) => /\.(tmp|new)$/.test(path) && path !== world.temporary),
    [],
    'temporary files are left',
  );
  assert.deepEqual(readdirSync(world.temporary), [], 'temporary files are left');
  assert.deepEqual(
    entries.filter((path) => lstatSync(path).isFIFO()),
    [],
    'FIFOs are left',
  );
  const inodes = new Set(entries.map((path) => lstatSync(path).ino));
  const locks = readFileSync('/proc/locks', 'utf8').split('\n');
  assert.deepEqual(
    locks.filter((line) => inodes.has(Number(/:(\d+) \d+ (?:\d+|EOF)$/.exec(line)?.[1]))),
    [],
    'locks are left',
  );
  const mounts = readFileSync('/proc/self/mountinfo', 'utf8').split('\n');
  assert.deepEqual(
    mounts.filter((line) => [home, scratch].some((path) => line.includes(path))).length,
    1,
    'mounts are left beside the small file system',
  );
}

/** Every process that has to do with a data directory, by its environment or its words. */
function processesOf(home: string): string[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name) && Number(name) !== process.pid)
    .flatMap((pid) => {
      try {
        const words = readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
        const environment = readFileSync(`/proc/${pid}/environ`, 'latin1');
        return words.includes(home) || environment.includes(`FORKPOINT_HOME=${home}`)
          ? [`${pid} ${words}`]
          : [];
      } catch {
        // It has ended in between, or is a zombie's.
        return [];
      }
    });
}

function below(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' }).map((name) => join(directory, name));
}
