// A store and programs to which the operations of a soak happen, and what is known of them: which runs live, and which memory
// each run and each image has.
import assert from 'node:assert/strict';
import { chownSync, mkdirSync, readFileSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Finished, Person, Running } from '@forkpoint/testkit';
import { childrenOf, isAlive, launcherOf, logOf } from './pods.ts';
import { tell } from './soak-draw.ts';
import type { Operation, Step, Strike } from './soak-draw.ts';

/** A run in a slot. */
interface Living {
  readonly id: string;
  /** Of its memory, which never changes. */
  readonly digest: string;
}

const LIMIT_MS = 120_000;
const PROGRAM = [nodeBinary(24), programPath('pulse.mjs'), 'big', '2'];
/** What an operation ends with that could not be done: no such image, in use, replaced meanwhile. */
const REFUSED = [1, 125];

export class World {
  readonly person: Person = createPerson();
  /** A directory that everybody has for temporary files, to see what stays in it. */
  readonly temporary: string;
  /** A small file system. */
  readonly small: string;
  readonly runs = new Map<string, Living>();
  /** By id of a run, also of those that have ended. */
  readonly digestOfRun = new Map<string, string>();
  /** By id of an image. */
  readonly digestOfImage = new Map<string, string>();
  /** How many operations have succeeded, and how many were refused or struck. */
  readonly counts = { done: 0, refused: 0, struck: 0 };

  constructor(mountSmall: (directory: string, uid: number) => void) {
    this.temporary = join(this.person.scratch, 'tmp');
    this.small = join(this.person.scratch, 'small');
    for (const directory of [this.temporary, this.small]) {
      mkdirSync(directory);
      chownSync(directory, this.person.uid, this.person.uid);
    }
    mountSmall(this.small, this.person.uid);
  }

  /** Carries out the operations of a step at once. Throws when one ends as none may. */
  async carryOut(step: Step): Promise<void> {
    const isAlone = step.length === 1;
    await Promise.all(
      step.map(async (operation) => {
        const { code, signal, stderr, stdout } = await this.#carry(operation);
        const said = `${tell(operation)} ended with ${code ?? signal}: ${stderr}${stdout}`;
        if (signal === 'SIGKILL' && isStruck(operation)) return this.counts.struck++;
        assert.doesNotMatch(stderr, /bug in forkpoint/, said);
        if (code === 0) return this.counts.done++;
        if (isStruck(operation)) {
          assert.ok(code !== null && code !== 70, said);
          return this.counts.struck++;
        }
        assert.ok(code !== null && [...REFUSED, 3].includes(code), said);
        if (isAlone) assert.match(stderr, EXPECTED, said);
        return this.counts.refused++;
      }),
    );
  }

  /** Asks a run for a sign of life. Throws when none comes, or its memory is another one. */
  async checkRun({ id, digest }: Living): Promise<void> {
    assert.equal(await this.beat(id), digest, `the memory of run ${id}`);
  }

  async beat(id: string): Promise<string> {
    const count = (): number => [...logOf(this.person, id).matchAll(/^beat /gm)].length;
    const before = count();
    process.kill(this.#program(id), 'SIGUSR1');
    const answer = await eventually(
      () =>
        [...logOf(this.person, id).matchAll(/^beat \d+ ([0-9a-f]+)$/gm)][before]?.[1] ??
        (this.isLiving({ id }) ? undefined : null),
      `run ${id} answering`,
    );
    if (answer === null) throw new Error(`run ${id} has ended`);
    return answer;
  }

  async command(words: readonly string[], strike?: Strike, run?: Living): Promise<Finished> {
    const running = this.person.forkpoint(words, { env: { TMPDIR: this.temporary }, timeoutMs: LIMIT_MS });
    running.child.stdin?.end();
    if (strike !== undefined) await this.#strike(running, strike, run);
    return await running.end();
  }

  /** Ends a run and waits for its launcher. */
  async end({ id }: Living): Promise<void> {
    const launcher = launcherOf(this.person, id);
    await this.command(['kill', id, '--signal', 'KILL']);
    await eventually(() => (isAlive(launcher) ? undefined : true), `the end of run ${id}`, LIMIT_MS);
  }

  isLiving({ id }: Pick<Living, 'id'>): boolean {
    return (
      isAlive(launcherOf(this.person, id)) &&
      readFileSync(join(this.person.home, 'runs', id, 'state'), 'utf8').startsWith('running')
    );
  }

  async #carry(operation: Operation): Promise<Finished> {
    switch (operation.kind) {
      case 'run':
        return await this.#start(operation.slot, ['run', '-d', '--json', '--', ...PROGRAM]);
      case 'end': {
        const run = this.runs.get(operation.slot);
        if (run !== undefined) {
          this.runs.delete(operation.slot);
          await this.end(run);
        }
        return await this.command(['ps']);
      }
      case 'checkpoint':
        return await this.#checkpoint(operation);
      case 'restore':
        return await this.#start(
          operation.slot,
          ['restore', operation.image, '-d', '--json'],
          operation.strike,
        );
      case 'fork': {
        const parent = this.runs.get(operation.slot)?.id ?? 'nobody';
        return await this.#start(operation.to, ['fork', parent, '-d', '--json']);
      }
      case 'change':
        return await this.command([operation.verb, operation.image], operation.strike);
      case 'rm':
        return await this.command(
          ['rm', operation.image, ...(operation.isForced ? ['--force'] : [])],
          operation.strike,
        );
      case 'gc':
        return await this.command(['gc', ...operation.flags], operation.strike);
      case 'look':
        return await this.command([operation.verb, '--json']);
      case 'full':
      default:
        return await this.#checkpointWithoutSpace(operation);
    }
  }

  async #checkpoint({
    slot,
    image,
    flags,
    strike,
  }: Extract<Operation, { kind: 'checkpoint' }>): Promise<Finished> {
    const run = this.runs.get(slot);
    const isEnding = flags.includes('--stop') || strike?.victim === 'launcher' || strike?.victim === 'criu';
    if (isEnding) this.runs.delete(slot);
    const finished = await this.command(['checkpoint', run?.id ?? 'nobody', image, ...flags], strike, run);
    // It was not to end when something else failed.
    if (isEnding && run !== undefined && !this.runs.has(slot)) {
      if (strike?.victim === 'launcher') await this.end(run);
      else if (strike?.victim === 'criu') {
        if (await this.#survives(run)) this.runs.set(slot, run);
      } else if (finished.code === 0)
        await eventually(() => (this.isLiving(run) ? undefined : true), `the end of run ${run.id}`);
      else if (this.isLiving(run)) this.runs.set(slot, run);
    }
    return finished;
  }

  /** A CRIU that is killed may leave the program with code of its own, of which that dies; else it is as it was. */
  async #survives(run: Living): Promise<boolean> {
    try {
      await this.checkRun(run);
      return true;
    } catch (error) {
      if (this.isLiving(run)) throw error;
      return false;
    }
  }

  async #checkpointWithoutSpace({
    slot,
    image,
    freeKb,
  }: Extract<Operation, { kind: 'full' }>): Promise<Finished> {
    const filler = join(this.small, 'filler');
    const { bavail, bsize } = statfsSync(this.small);
    try {
      writeFileSync(filler, Buffer.alloc(Math.max(0, bavail * bsize - freeKb * 1024)));
      return await this.command(['checkpoint', this.runs.get(slot)?.id ?? 'nobody', image]);
    } finally {
      rmSync(filler, { force: true });
    }
  }

  /** Starts a run and puts it in the place of the one that was in the slot. */
  async #start(slot: string, words: readonly string[], strike?: Strike): Promise<Finished> {
    const finished = await this.command(words, strike);
    if (finished.code !== 0) return finished;
    const told = JSON.parse(finished.stdout) as { id: string } | readonly { id: string }[];
    const id = 'id' in told ? told.id : String(told[0]?.id);
    await eventually(() => (this.#find(id) === undefined ? undefined : true), `the program of run ${id}`);
    if (words[0] === 'run')
      await eventually(() => /^up$/m.test(logOf(this.person, id)) || undefined, `run ${id}`);
    const digest = await this.beat(id);
    if (words[0] !== 'run') {
      const known = [...this.digestOfRun.values()];
      assert.ok(known.includes(digest), `${words.join(' ')} has memory that no program ever had`);
    }
    this.digestOfRun.set(id, digest);
    const before = this.runs.get(slot);
    this.runs.set(slot, { id, digest });
    if (before !== undefined) await this.end(before);
    return finished;
  }

  /** Kills somebody while a command is at work; whoever is not seen is not killed. */
  async #strike(running: Running, { victim, afterMs }: Strike, run: Living | undefined): Promise<void> {
    let hasEnded = false;
    void running.end().then(() => (hasEnded = true));
    const launcher = run === undefined ? undefined : launcherOf(this.person, run.id);
    const look = (): number | undefined => {
      if (victim === 'command') return running.child.pid;
      if (victim === 'launcher' && launcher !== undefined) return launcher;
      const pattern = { worker: /worker\.cjs/, criu: / (dump|restore) /, launcher: /^\S*launcher\b/ }[victim];
      const among = launcher === undefined ? descendantsOf(running.child.pid ?? 0) : childrenOf(launcher);
      return among.find((pid) => pattern.test(commandOf(pid)));
    };
    let pid = look();
    while (pid === undefined && !hasEnded) {
      await pause(2);
      pid = look();
    }
    await pause(afterMs);
    if (pid === undefined || !isAlive(pid) || hasEnded) return;
    // A number may be another process's by now: only one that still is what was meant is killed.
    if (look() === pid) process.kill(pid, 'SIGKILL');
  }

  #program(id: string): number {
    const pid = this.#find(id);
    if (pid === undefined) throw new Error(`the program of run ${id} has gone`);
    return pid;
  }

  #find(id: string): number | undefined {
    return childrenOf(launcherOf(this.person, id)).find((pid) => commandOf(pid).includes('pulse.mjs'));
  }
}

/** Why an operation may be refused when nothing else goes on. */
const EXPECTED =
  /no (image|run)|is not an image|programs run from|is compressed|No space|ENOSPC|space left|meanwhile|was replaced/i;

function isStruck(operation: Operation): boolean {
  return 'strike' in operation && operation.strike !== undefined;
}

function descendantsOf(pid: number): number[] {
  return childrenOf(pid).flatMap((child) => [child, ...descendantsOf(child)]);
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    // It has ended in between.
    return '';
  }
}
