// Checkpoints of a program whose every page knows what it should hold, while an operation of CRIU, of the worker or of the
// launcher on the store fails, or somebody is killed at it (packages/testkit/src/programs/c/faults.c). A walk has an engine and a
// package of its own, in which the three are built or started with these faults.
import assert from 'node:assert/strict';
import { readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { createPerson, eventually, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { findRubbish, listDirectory, placesAt, removeRubbish, verifyImage } from '@forkpoint/store';
import { compileDynamic } from './build.ts';
import { FaultyEngine } from './faulty-engine.ts';
import type { Caller } from './faulty-engine.ts';
import { childrenOf, isAlive, launcherOf, logOf } from './pods.ts';
import { ask } from './walk.ts';
import type { Told } from './walk.ts';

export const VICTIMS = ['worker', 'launcher', 'criu', 'command'] as const;

/** One operation of a checkpoint, and what happens at it: it fails, or somebody is killed before it is done. */
export interface Point {
  readonly caller: Caller;
  readonly at: number;
  readonly fault: 'space' | 'io' | 'files' | (typeof VICTIMS)[number];
}

/** What became of a point: whether there is such a one, and who was to be killed there was alive. */
export type Came = 'struck' | 'absent' | 'nobody';

const MEGABYTES = '2';

export class DumpWalk {
  readonly person: Person = createPerson();
  readonly #engine = new FaultyEngine(this.person);
  /** The operation that was struck last. */
  what = '';
  #run = '';
  #sum = '';
  /** Memory that some image may hold. */
  readonly #known = new Set<string>();

  /** Starts the program and takes the first image. */
  async start(): Promise<void> {
    const chain = join(this.person.scratch, 'chain');
    await compileDynamic(programPath('c/chain.c'), chain);
    const { stdout } = await this.#succeed('run', '-d', '--', chain, MEGABYTES, '10');
    this.#run = stdout.trim();
    await eventually(() => /^up$/m.test(logOf(this.person, this.#run)) || undefined, 'the program');
    this.#sum = await this.#check(this.#run);
    this.#known.add(this.#sum);
    await this.#succeed('checkpoint', this.#run, 'image');
  }

  /** Lets a checkpoint meet a fault, and checks everything that has to hold afterwards. Throws at the first that does not. */
  async strike(point: Point): Promise<Came> {
    await this.#signal('SIGUSR1', /^dirty \d+$/gm);
    this.#sum = await this.#check(this.#run);
    this.#known.add(this.#sum);
    // Now over an image, now at a new place.
    const name = point.at % 3 === 0 ? 'fresh' : 'image';
    rmSync(join(this.#images, 'fresh'), { recursive: true, force: true });
    const came = await this.#meet(point, name);
    const isGone = came === 'struck' && point.fault === 'launcher';
    await this.#recover(isGone || (point.fault === 'criu' && !(await this.#survives())));
    await this.#imagesAreWhole();
    await this.#repeat();
    return came;
  }

  /** Ends everything. */
  async leave(): Promise<void> {
    await this.person.leave();
  }

  get #images(): string {
    return join(this.person.home, 'images');
  }

  async #meet({ caller, at, fault }: Point, name: string): Promise<Came> {
    const isError = fault === 'space' || fault === 'io' || fault === 'files';
    this.#engine.order(caller, isError ? fault : 'halt', at);
    const launcher = launcherOf(this.person, this.#run);
    // Only where the command is to be killed there has to be one: it takes longer to start than all the rest.
    const running = fault === 'command' ? this.#engine.forkpoint('checkpoint', this.#run, name) : undefined;
    const isStruck = (): boolean => this.#engine.isStruck;
    let hasEnded = false;
    const ended = running?.end() ?? this.#ask(name);
    void ended.then(
      () => (hasEnded = true),
      () => (hasEnded = true),
    );
    // The worker has more to do behind the answer.
    const isOver = (): boolean => hasEnded && helperOf(launcher, 'worker') === undefined;
    await eventually(() => isStruck() || isOver() || undefined, `${caller} at ${at}`, 60_000);
    let came: Came = isStruck() ? 'struck' : 'absent';
    if (came === 'struck' && !isError) {
      const victim =
        fault === 'launcher'
          ? launcher
          : fault === 'command'
            ? running?.child.pid
            : helperOf(launcher, fault);
      if (victim === undefined || (fault === 'command' && hasEnded)) came = 'nobody';
      else process.kill(victim, 'SIGKILL');
    }
    if (isStruck()) this.what = this.#engine.what;
    this.#engine.release();
    await ended;
    await eventually(() => isOver() || undefined, 'the end of the worker', 60_000);
    this.#engine.clear();
    return came;
  }

  /** The program goes on as it was; one that has ended with its launcher comes back from an image. */
  async #recover(isGone: boolean): Promise<void> {
    if (isGone) {
      const launcher = launcherOf(this.person, this.#run);
      await eventually(() => (isAlive(launcher) ? undefined : true), 'the end of the pod');
      this.#run = (await this.#succeed('restore', 'image', '-d')).stdout.trim();
      this.#sum = await this.#check(this.#run);
      assert.ok(this.#known.has(this.#sum), 'the image holds memory that the program never had');
    } else assert.equal(await this.#check(this.#run), this.#sum, 'the memory of the program');
  }

  /** A CRIU that is killed may leave the program with code of its own, of which that dies; else it is as it was. */
  async #survives(): Promise<boolean> {
    try {
      await this.#check(this.#run);
      return true;
    } catch (error) {
      if (isAlive(launcherOf(this.person, this.#run))) throw error;
      return false;
    }
  }

  async #imagesAreWhole(): Promise<void> {
    const { images, damaged } = await listDirectory(this.#images);
    assert.deepEqual(damaged, [], 'a half image is seen');
    for (const { path } of images) assert.deepEqual((await verifyImage(path)).problems, [], path);
  }

  /** The next checkpoint succeeds, holds every page that was changed, and nothing of the one before is left. */
  async #repeat(): Promise<void> {
    const told = await this.#ask('image');
    assert.equal(told?.outcome, 'done', told?.message);
    const clone = (await this.#succeed('restore', 'image', '-d')).stdout.trim();
    assert.equal(await this.#check(clone), this.#sum, 'the memory of a clone');
    const launcher = launcherOf(this.person, clone);
    process.kill(launcher, 'SIGKILL');
    await eventually(() => (isAlive(launcher) ? undefined : true), 'the end of the clone');
    const drafts = (recursive: boolean): string[] =>
      readdirSync(this.#images, { recursive, encoding: 'utf8' }).filter((one) => /\.(tmp|new)$/.test(one));
    await eventually(
      () => (drafts(false).length > 0 ? undefined : true),
      'nothing being left beside the images',
    );
    // Who is killed while it writes the digests leaves a draft in an image, which is gc's, an hour later: nobody writes any more.
    const own = launcherOf(this.person, this.#run);
    await eventually(
      () => (helperOf(own, 'worker') === undefined ? true : undefined),
      'the end of the worker',
    );
    const places = placesAt(this.person.home);
    const nowMs = Date.now() + 3600 * 1000;
    const found = await findRubbish(places, { runs: [], imageIds: new Set(), nowMs, cacheMs: nowMs });
    for (const item of found.filter(({ kind }) => kind === 'draft')) await removeRubbish(item);
    await eventually(() => (drafts(true).length > 0 ? undefined : true), 'nothing being left in the images');
  }

  async #check(id: string): Promise<string> {
    const [, told = ''] = await this.#signal('SIGUSR2', /^(right [0-9a-f]+|WRONG.*)$/gm, id);
    assert.match(told, /^right/);
    return told;
  }

  /** Signals the program of a run and returns the line with which it answers. */
  async #signal(signal: NodeJS.Signals, pattern: RegExp, id = this.#run): Promise<RegExpMatchArray> {
    const answers = (): RegExpMatchArray[] => [...logOf(this.person, id).matchAll(pattern)];
    const before = answers().length;
    const program = (): number | undefined =>
      childrenOf(launcherOf(this.person, id)).find((pid) => commandOf(pid).includes('/chain '));
    const launcher = launcherOf(this.person, id);
    const orGone = <T>(found: T | undefined): T | null | undefined =>
      found ?? (isAlive(launcher) ? undefined : null);
    const pid = await eventually(() => orGone(program()), `the program of ${id}`);
    if (pid !== null) process.kill(pid, signal);
    const answer = await eventually(() => orGone(answers()[before]), `an answer of ${id}`);
    if (answer === null) throw new Error(`run ${id} has ended`);
    return answer;
  }

  /** Asks the run for a checkpoint as the command does; null when it has gone without an answer. */
  async #ask(name: string): Promise<Told | null> {
    const launcher = launcherOf(this.person, this.#run);
    return await ask(this.person, { id: this.#run, launcher }, join(this.#images, name));
  }

  async #succeed(...words: string[]): Promise<{ stdout: string }> {
    const { code, stdout, stderr } = await this.#engine.forkpoint(...words).end();
    assert.equal(code, 0, `${words.join(' ')}: ${stderr}${stdout}`);
    return { stdout };
  }
}

function helperOf(launcher: number, who: 'worker' | 'criu'): number | undefined {
  const pattern = who === 'worker' ? /worker\.cjs/ : / dump /;
  return childrenOf(launcher).find((pid) => isAlive(pid) && pattern.test(commandOf(pid)));
}

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    // It has ended in between.
    return '';
  }
}
