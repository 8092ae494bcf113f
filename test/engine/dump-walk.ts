// Checkpoints of a program whose every page knows what it should hold, while an operation of CRIU, of the worker or of the
// launcher on the store fails, or somebody is killed at it (packages/testkit/src/programs/c/faults.c). A walk has an engine and a
// package of its own, in which the three are built or started with these faults.
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { createPerson, eventually, nodeBinary, programPath, root } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { listDirectory, verifyImage } from '@forkpoint/store';
import { compileDynamic } from './build.ts';
import { childrenOf, isAlive, launcherOf, logOf } from './pods.ts';

export const CALLERS = ['criu', 'worker', 'launcher'] as const;
export const VICTIMS = ['worker', 'launcher', 'criu', 'command'] as const;

/** One operation of a checkpoint, and what happens at it: it fails, or somebody is killed before it is done. */
export interface Point {
  readonly caller: (typeof CALLERS)[number];
  readonly at: number;
  readonly fault: 'space' | 'io' | 'files' | (typeof VICTIMS)[number];
}

/** What became of a point: whether there is such a one, and who was to be killed there was alive. */
export type Came = 'struck' | 'absent' | 'nobody';

const MEGABYTES = '2';

export class DumpWalk {
  readonly person: Person = createPerson();
  /** The operation that was struck last. */
  what = '';
  readonly #directory: string;
  readonly #control: string;
  readonly #log: string;
  #run = '';
  #sum = '';
  /** Memory that some image may hold. */
  readonly #known = new Set<string>();
  #sequence = 0;

  constructor() {
    this.#directory = join(this.person.scratch, 'walk');
    this.#control = join(this.#directory, 'control');
    this.#log = join(this.person.scratch, 'struck');
    mkdirSync(join(this.#directory, 'lib/dist'), { recursive: true });
    mkdirSync(join(this.#directory, 'lib/bin'));
    this.#makeEngine();
    this.#makePackage();
    execFileSync('chmod', ['-R', 'a+rX', this.#directory]);
  }

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
    this.#order([caller, isError ? fault : 'halt', at, this.person.home, this.#log]);
    const launcher = launcherOf(this.person, this.#run);
    const running = this.#forkpoint('checkpoint', this.#run, name);
    const isStruck = (): boolean => existsSync(this.#log);
    let hasEnded = false;
    void running.end().then(() => (hasEnded = true));
    // The worker has more to do behind the answer.
    const isOver = (): boolean => hasEnded && helperOf(launcher, 'worker') === undefined;
    await eventually(() => isStruck() || isOver() || undefined, `${caller} at ${at}`, 60_000);
    let came: Came = isStruck() ? 'struck' : 'absent';
    if (came === 'struck' && !isError) {
      const victim =
        fault === 'launcher' ? launcher : fault === 'command' ? running.child.pid : helperOf(launcher, fault);
      if (victim === undefined || (fault === 'command' && hasEnded)) came = 'nobody';
      else process.kill(victim, 'SIGKILL');
    }
    if (isStruck()) this.what = readFileSync(this.#log, 'utf8').trim();
    rmSync(this.#log, { force: true });
    await running.end();
    await eventually(() => isOver() || undefined, 'the end of the worker', 60_000);
    this.#order(undefined);
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
    await this.#succeed('checkpoint', this.#run, 'image');
    const clone = (await this.#succeed('restore', 'image', '-d')).stdout.trim();
    assert.equal(await this.#check(clone), this.#sum, 'the memory of a clone');
    const launcher = launcherOf(this.person, clone);
    process.kill(launcher, 'SIGKILL');
    await eventually(() => (isAlive(launcher) ? undefined : true), 'the end of the clone');
    await eventually(() => {
      const entries = readdirSync(this.#images, { recursive: true, encoding: 'utf8' });
      return entries.some((entry) => /\.(tmp|new)$/.test(entry)) ? undefined : true;
    }, 'nothing being left beside the images');
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

  #order(words: readonly (string | number)[] | undefined): void {
    const text = words === undefined ? '' : `${[++this.#sequence, ...words].join(' ')}\n`;
    writeFileSync(`${this.#control}.new`, text);
    chmodSync(`${this.#control}.new`, 0o644);
    renameSync(`${this.#control}.new`, this.#control);
  }

  #forkpoint(...words: string[]): Running {
    const running = this.person.start([join(this.#directory, 'lib/bin/forkpoint'), ...words], {
      env: { FORKPOINT_NODE: nodeBinary(24) },
    });
    running.child.stdin?.end();
    return running;
  }

  async #succeed(...words: string[]): Promise<{ stdout: string }> {
    const { code, stdout, stderr } = await this.#forkpoint(...words).end();
    assert.equal(code, 0, `${words.join(' ')}: ${stderr}${stdout}`);
    return { stdout };
  }

  /** An engine in which CRIU is started with the faults, and the launcher is built with them. */
  #makeEngine(): void {
    const lent = realpathSync(join(this.person.home, 'engine'));
    const engine = join(this.#directory, 'engine');
    const native = join(engine, 'native');
    mkdirSync(native, { recursive: true });
    for (const name of readdirSync(lent).filter((one) => !['engine.plan', 'native'].includes(one)))
      symlinkSync(join(lent, name), join(engine, name));
    for (const name of readdirSync(realpathSync(join(lent, 'native/current'))).filter(
      (one) => one !== 'launcher',
    ))
      symlinkSync(join(lent, 'native/current', name), join(native, name));
    symlinkSync('.', join(native, 'current'));
    const plan = readFileSync(join(lent, 'engine.plan'), 'latin1');
    writeFileSync(join(engine, 'engine.plan'), withPreload(plan, this.#compile('criu')), 'latin1');
    const sources = readdirSync(join(root, 'packages/launcher')).filter((name) => name.endsWith('.c'));
    const files = sources.map((name) => join(root, 'packages/launcher', name));
    execFileSync('cc', ['-O0', '-o', join(native, 'launcher'), ...files, this.#source('launcher'), '-ldl']);
    rmSync(join(this.person.home, 'engine'));
    symlinkSync(engine, join(this.person.home, 'engine'));
  }

  /** A package whose worker is started once more, with the faults. */
  #makePackage(): void {
    const lib = join(root, 'packages/forkpoint');
    for (const name of readdirSync(join(lib, 'dist')).filter((one) => one !== 'worker.cjs'))
      symlinkSync(join(lib, 'dist', name), join(this.#directory, 'lib/dist', name));
    writeFileSync(join(this.#directory, 'lib/bin/forkpoint'), readFileSync(join(lib, 'bin/forkpoint')), {
      mode: 0o755,
    });
    const real = JSON.stringify(join(lib, 'dist/worker.cjs'));
    const preload = JSON.stringify(this.#compile('worker'));
    writeFileSync(
      join(this.#directory, 'lib/dist/worker.cjs'),
      `process.execve(process.execPath, [process.execPath, ${real}], { ...process.env, LD_PRELOAD: ${preload} });\n`,
    );
  }

  #source(role: string): string {
    const file = join(this.#directory, `faults-${role}.c`);
    const include = programPath('c/faults.c');
    const text = `#define FAULT_ROLE "${role}"\n#define FAULT_CONTROL "${this.#control}"\n#include "${include}"\n`;
    writeFileSync(file, text);
    return file;
  }

  #compile(role: string): string {
    const file = join(this.#directory, `faults-${role}.so`);
    execFileSync('cc', ['-O1', '-shared', '-fPIC', '-o', file, this.#source(role), '-ldl']);
    return file;
  }
}

/** The engine's plan, with a library that is loaded before all others: by CRIU's own loader, or by that of the machine. */
function withPreload(plan: string, library: string): string {
  const words = plan.split('\0');
  const result: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at] ?? '';
    const [, key = '', count = '0'] = /^(criu|quick):(\d+)$/.exec(word) ?? [];
    if (key === '') {
      result.push(word);
      continue;
    }
    const [first = '', ...rest] = words.slice(at + 1, at + 1 + Number(count));
    const own = first.includes('ld-linux')
      ? [first, '--preload', library]
      : ['/usr/bin/env', `LD_PRELOAD=${library}`, first];
    result.push(`${key}:${own.length + rest.length}`, ...own, ...rest);
    at += Number(count);
  }
  return result.join('\0');
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
