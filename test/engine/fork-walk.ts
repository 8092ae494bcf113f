// Forks of a Node program while somebody who takes part is killed at an operation on the store: nothing of the family may be left but
// who was not to die. The engine is that of faulty-engine.ts.
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { FaultyEngine } from './faulty-engine.ts';
import type { Caller } from './faulty-engine.ts';
import { childrenOf, commandOf, isAlive, launcherOf } from './pods.ts';

/** Who is killed: the forking program, pid 1 of its pod, the launcher outside of it, or one of those that work for the fork. */
export const VICTIMS = ['parent', 'inner', 'outer', 'worker', 'criu', 'child'] as const;
export type Victim = (typeof VICTIMS)[number];

/** An operation at which everything is held while somebody is killed. */
export interface Point {
  readonly caller: Caller;
  readonly at: number;
  readonly victim: Victim;
}

/** What became of a point: whether there is such a one, and whether who was to be killed there was alive. */
export type Came = 'struck' | 'absent' | 'nobody';

const LIMIT_MS = 60_000;
/** How much of a log stands in an error, in characters. */
const TOLD_MAX = 2000;

export class ForkWalk {
  readonly person: Person = createPerson();
  readonly #engine = new FaultyEngine(this.person);
  /** The operation that was struck last. */
  what = '';
  /** The parent: its command in the foreground, and its run. */
  #running: Running | undefined;
  #run = '';
  /** Runs of parents that have ended keep their records, as any. */
  readonly #parents: string[] = [];

  /** Lets a fork be held at a point, kills the victim, and checks what is left. Throws at the first thing that does not hold. */
  async strike({ caller, at, victim }: Point): Promise<Came> {
    if (this.#run === '') await this.#begin();
    const inner = launcherOf(this.person, this.#run);
    const answers = this.#said(ANSWER).length;
    this.#engine.order(caller, 'halt', at);
    process.kill(this.#program(), 'SIGUSR1');
    const hasAnswered = (): boolean => this.#said(ANSWER).length > answers;
    // What children do at last comes behind the answer.
    const isOver = (): boolean => hasAnswered() && !this.#isBusy(inner);
    try {
      await eventually(() => this.#engine.isStruck || isOver() || undefined, `${caller} at ${at}`, LIMIT_MS);
    } catch (cause) {
      throw new Error(this.#situation(), { cause });
    }
    let came: Came = 'absent';
    if (this.#engine.isStruck) {
      this.what = this.#engine.what;
      const pid = this.#find(victim, inner);
      came = pid === undefined ? 'nobody' : 'struck';
      if (pid !== undefined) process.kill(pid, 'SIGKILL');
    }
    this.#engine.clear();
    this.#engine.release();
    if (came === 'struck' && ['parent', 'inner', 'outer'].includes(victim)) await this.#allGone();
    else {
      await eventually(() => (hasAnswered() ? true : undefined), 'an answer', LIMIT_MS);
      await this.#onlyParentLeft();
    }
    return came;
  }

  /** Ends everything. */
  async leave(): Promise<void> {
    await this.person.leave();
  }

  async #begin(): Promise<void> {
    const name = `brood-${this.#parents.length}`;
    const argv = ['run', '--name', name, '--', nodeBinary(24), programPath('brood.cjs')];
    this.#running = this.#engine.forkpoint(...argv);
    await this.#running.output(/^up$/m, LIMIT_MS);
    const runs = (await this.person.json(['ps'])) as { id: string; name: string }[];
    this.#run = runs.find((run) => run.name === name)?.id ?? '';
    this.#parents.push(this.#run);
  }

  /** The parent's end is that of everybody. */
  async #allGone(): Promise<void> {
    const home = this.person.home;
    await eventually(() => (processesOf(home).length === 0 ? true : undefined), 'the end of all', LIMIT_MS);
    assert.deepEqual(await this.#living(), []);
    await eventually(
      () => (leftIn(home, this.#parents, '').length === 0 ? true : undefined),
      this.#leftovers(),
    );
    this.#run = '';
  }

  /** The parent is well, and once its children are gone it is alone. */
  async #onlyParentLeft(): Promise<void> {
    const before = this.#said(/^well 1000 \d+$/gm).length;
    process.kill(this.#program(), 'SIGUSR2');
    await eventually(() => this.#said(/^well 1000 \d+$/gm)[before], 'the parent', LIMIT_MS);
    const expected = new Set([
      this.#program(),
      launcherOf(this.person, this.#run),
      this.#running?.child.pid ?? 0,
    ]);
    await eventually(
      () => (processesOf(this.person.home).every((pid) => expected.has(pid)) ? true : undefined),
      'nobody being left but the parent',
      LIMIT_MS,
    );
    assert.deepEqual(await this.#living(), [this.#run]);
    await eventually(
      () => (leftIn(this.person.home, this.#parents, this.#run).length === 0 ? true : undefined),
      this.#leftovers(),
    );
  }

  /** What somebody has to know who looks for the reason of a fork that hangs. */
  #situation(): string {
    const log = join(this.person.home, 'runs', this.#run, 'launcher.log');
    const processes = processesOf(this.person.home).map((pid) => `${pid} ${commandOf(pid)}`);
    const said = existsSync(log) ? readFileSync(log, 'utf8').slice(-TOLD_MAX) : '';
    return [this.#running?.stdout.slice(-TOLD_MAX), said, ...processes].join('\n');
  }

  async #living(): Promise<string[]> {
    return ((await this.person.json(['ps'])) as { id: string }[]).map(({ id }) => id);
  }

  #leftovers(): string {
    return `nothing being left: ${leftIn(this.person.home, this.#parents, this.#run).join(', ')}`;
  }

  #said(pattern: RegExp): string[] {
    return [...(this.#running?.stdout ?? '').matchAll(pattern)].map(([line]) => line);
  }

  #program(): number {
    const pid = childrenOf(launcherOf(this.person, this.#run)).find((one) =>
      commandOf(one).includes('brood.cjs'),
    );
    assert.ok(pid !== undefined, 'the parent is gone');
    return pid;
  }

  /** Launchers of children, outer and inner ones: they hang below the nursery. */
  #broodOf(inner: number): number[] {
    const nursery = parentOf(inner);
    const all = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(all)];
    return nursery <= 1
      ? []
      : childrenOf(nursery)
          .filter((pid) => pid !== inner)
          .flatMap(all);
  }

  #isBusy(inner: number): boolean {
    const helpers = [...childrenOf(inner), ...this.#broodOf(inner)];
    return helpers.some((pid) => isAlive(pid) && (commandOf(pid).includes('worker.cjs') || isCriu(pid)));
  }

  #find(victim: Victim, inner: number): number | undefined {
    const helpers = [...childrenOf(inner), ...this.#broodOf(inner)].filter(isAlive);
    const found: Record<Victim, () => number | undefined> = {
      parent: () => this.#program(),
      inner: () => inner,
      outer: () => this.#running?.child.pid,
      worker: () => helpers.find((pid) => commandOf(pid).includes('worker.cjs')),
      criu: () => helpers.find(isCriu),
      child: () => this.#broodOf(inner).find((pid) => commandOf(pid).includes('child')),
    };
    return found[victim]();
  }
}

const ANSWER = /^(forked|failed) .*$/gm;

function isCriu(pid: number): boolean {
  return /criu.* (dump|restore) /.test(commandOf(pid));
}

function parentOf(pid: number): number {
  try {
    return Number(/^PPid:\s+(\d+)$/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1] ?? 0);
  } catch {
    // It has ended in between.
    return 0;
  }
}

/** All processes that have to do with a data directory: each has its path in the environment. */
function processesOf(home: string): number[] {
  return readdirSync('/proc')
    .filter((name) => /^\d+$/.test(name))
    .map(Number)
    .filter((pid) => {
      try {
        return isAlive(pid) && readFileSync(`/proc/${pid}/environ`, 'latin1').includes(home);
      } catch {
        // It has ended, or is somebody else's.
        return false;
      }
    });
}

/** What is left in a data directory beside the records of these runs, of which one may live: directories, half images, sockets, FIFOs. */
function leftIn(home: string, runs: readonly string[], living: string): string[] {
  const below = (...path: string[]): string[] => {
    const directory = join(home, ...path);
    return existsSync(directory) ? readdirSync(directory).map((name) => join(...path, name)) : [];
  };
  const strange = below('runs').filter((path) => !runs.some((id) => path === join('runs', id)));
  const drafts = below('cache').filter((path) => /fork-/.test(path));
  const inside = runs.flatMap((id) => [
    ...below('runs', id, 'forks'),
    ...(id === living
      ? below('runs', id, 'ctl').filter((path) => path.endsWith('.sock'))
      : below('runs', id, 'ctl')),
  ]);
  return [...strange, ...drafts, ...inside];
}
