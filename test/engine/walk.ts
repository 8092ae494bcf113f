import {
  chownSync,
  closeSync,
  constants,
  existsSync,
  openSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import { eventually } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { childrenOf, isAlive, logOf } from './pods.ts';

/** The steps of a checkpoint at which somebody is killed. */
export const STEPS = ['prepare', 'hooks', 'ready', 'dump', 'rewrite', 'publish'] as const;
export type Step = (typeof STEPS)[number];

/** A run of pair.cjs. */
export interface Pair {
  readonly id: string;
  /** Host's pid of the inner launcher. */
  readonly launcher: number;
  /** The command in the foreground, if it is one. */
  readonly outer?: Running;
  log(): string;
}

/** A checkpoint that stands still at one step. */
export interface Halted {
  /** Host's pids of who takes part. */
  readonly worker: number;
  /** 0 where CRIU does not run. */
  readonly criu: number;
  /** Lets everybody who still lives go on. */
  release(): void;
}

const SPIN_MS = 5_000;

function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    // It has ended in between.
    return '';
  }
}

/** Host's pids of the pair's two processes; fewer when one has ended. */
export function pairOf({ launcher }: Pair): number[] {
  const root = childrenOf(launcher).find((pid) => /pair\.cjs/.test(commandOf(pid)));
  return root === undefined ? [] : [root, ...childrenOf(root).filter(isAlive)];
}

/** Asks both processes for a sign of life and returns the digest of the child's memory. */
export async function beat(pair: Pair): Promise<string> {
  const before = [...pair.log().matchAll(/^beat /gm)].length;
  return await eventually(() => {
    // Again and again: the child may be one that is just starting.
    const [root] = /^(up|filled)$/m.test(pair.log()) ? pairOf(pair) : [];
    if (root !== undefined) process.kill(root, 'SIGUSR1');
    return [...pair.log().matchAll(/^beat \d+ ([0-9a-f]+)$/gm)][before]?.[1];
  }, `run ${pair.id} answering`);
}

/** Returns the processes of a pod, by their pids of the host, with the letter of their state. */
export function statesOf({ launcher }: Pair): string[] {
  const all = (pid: number): number[] => [pid, ...childrenOf(pid).flatMap(all)];
  return all(launcher)
    .slice(1)
    .map((pid) => {
      try {
        const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
        return `${stat.slice(stat.indexOf('(') + 1, stat.lastIndexOf(')'))} ${stat.slice(stat.lastIndexOf(')') + 2)[0]}`;
      } catch {
        // It has ended in between.
        return '';
      }
    })
    .filter(Boolean);
}

/** What checkpoints, of one run if it is given, have left unfinished in the scratch directory. */
export function drafts(person: Person, id = ''): string[] {
  return readdirSync(person.scratch).filter((name) => name.endsWith('.tmp') && name.includes(id));
}

/** What an answer says that matters here. */
export interface Told {
  readonly outcome: 'done' | 'failed';
  readonly id?: string;
  readonly message?: string;
}

/** Writes to a FIFO; false when nobody reads there, where a plain open would wait for ever. */
function tell(fifo: string, line: string): boolean {
  try {
    const fd = openSync(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    writeSync(fd, line);
    closeSync(fd);
    return true;
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENXIO') return false;
    throw error;
  }
}

/** Asks for a checkpoint as the command does, and returns what is answered; null when the launcher has gone without. */
export async function ask(
  person: Person,
  pair: Pick<Pair, 'id' | 'launcher'>,
  to: string,
): Promise<Told | null> {
  const name = Math.random().toString(16).slice(2);
  const line = { v: 1, op: 'checkpoint', pid: 0, ask: name, to, cwd: person.scratch, timeoutMs: 60_000 };
  if (!tell(join(person.home, 'runs', pair.id, 'ctl/request'), `${JSON.stringify(line)}\n`)) return null;
  const answer = join(person.home, 'runs', pair.id, 'results', `${name}.json`);
  const read = (): Told | undefined =>
    existsSync(answer) ? (JSON.parse(readFileSync(answer, 'utf8')) as Told) : undefined;
  return await eventually(
    () => read() ?? (isAlive(pair.launcher) ? undefined : (read() ?? null)),
    `an answer of run ${pair.id}`,
    60_000,
  );
}

/** Returns the run of a given name or id once its program runs. */
export async function pairNamed(person: Person, name: string, outer?: Running): Promise<Pair> {
  const runs = join(person.home, 'runs');
  const found = await eventually(() => {
    for (const id of readdirSync(runs)) {
      const path = join(runs, id, 'run.json');
      if (!existsSync(path)) continue;
      const record = JSON.parse(readFileSync(path, 'utf8')) as { name: string; launcherPid: number };
      if (record.name === name || id === name) return { id, launcher: record.launcherPid };
    }
    return undefined;
  }, `the run ${name}`);
  const log = (): string => (outer === undefined ? logOf(person, found.id) : outer.stdout);
  return { ...found, log, ...(outer === undefined ? {} : { outer }) };
}

/** Looks without a pause, because what is looked for is over in milliseconds; undefined when it did not come. */
function spin<T>(look: () => T | undefined): T | undefined {
  const deadline = performance.now() + SPIN_MS;
  for (;;) {
    const found = look();
    if (found !== undefined || performance.now() > deadline) return found;
  }
}

/** Sends a signal to a process that may have ended. */
export function signal(pid: number, name: NodeJS.Signals): void {
  if (pid <= 1) throw new RangeError(`no process is meant by ${pid}`);
  try {
    process.kill(pid, name);
  } catch {
    // It has ended by itself.
  }
}

/** The letter of a process's state; empty when it is gone. */
function stateOf(pid: number): string {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return stat[stat.lastIndexOf(')') + 2] ?? '';
  } catch {
    // It has ended in between.
    return '';
  }
}

const helperOf = (launcher: number, pattern: RegExp): number | undefined =>
  childrenOf(launcher).find((pid) => pattern.test(commandOf(pid)));
/**
 * Whether CRIU writes a process's memory. From its first pages on the code that it has put there ends by itself when CRIU
 * does; a CRIU that is killed in the instant before leaves a process that nobody can put right (docs/troubleshooting.md).
 */
function writesPages(person: Person, pair: Pair): boolean {
  for (const draft of drafts(person, pair.id)) {
    try {
      for (const name of readdirSync(join(person.scratch, draft)))
        if (name.startsWith('pages-') && statSync(join(person.scratch, draft, name)).size > 1 << 20)
          return true;
    } catch {
      // It has been put in its place in between.
    }
  }
  return false;
}

/**
 * Brings a checkpoint that is asked for with `begin` to a step and holds it there: the child's hook waits for a file, and
 * worker, CRIU and launcher are stopped by signal. Nothing of the product knows of it. There has to be an image at the
 * destination already, so that the last act of the worker is to have the launcher exchange the two.
 */
export async function haltAt(
  person: Person,
  pair: Pair,
  step: Step,
  begin: () => void,
  tries = 5,
): Promise<Halted> {
  const shut = join(person.scratch, 'shut');
  const brake = new Brake(shut);
  try {
    const halted = await advance(person, pair, { step, begin, shut, brake });
    if (halted !== undefined) return { ...halted, release: () => brake.release() };
  } catch (error) {
    // Nobody stays halted behind a failed test.
    brake.release();
    throw error;
  }
  if (tries === 1) throw new Error('CRIU was not seen at its work');
  return await haltAt(person, pair, step, begin, tries - 1);
}

/** Stops processes, and lets go those that it has stopped. */
class Brake {
  readonly #stopped = new Set<number>();
  readonly #shut: string;

  constructor(shut: string) {
    this.#shut = shut;
  }

  stop(pid: number): void {
    this.#stopped.add(pid);
    signal(pid, 'SIGSTOP');
  }

  go(pid: number): void {
    this.#stopped.delete(pid);
    signal(pid, 'SIGCONT');
  }

  release(): void {
    rmSync(this.#shut, { force: true });
    for (const pid of this.#stopped) this.go(pid);
  }
}

/** Returns who is halted at the step, or undefined when the dump was over before it was seen. */
async function advance(
  person: Person,
  pair: Pair,
  { step, begin, shut, brake }: { step: Step; begin: () => void; shut: string; brake: Brake },
): Promise<Omit<Halted, 'release'> | undefined> {
  const { launcher } = pair;
  const hooks = (what: string): number => [...pair.log().matchAll(new RegExp(`^hook ${what}$`, 'gm'))].length;
  const [begun, ended] = [hooks('begins'), hooks('ends')];
  writeFileSync(shut, '');
  chownSync(shut, person.uid, person.uid);
  begin();
  const worker = await eventually(() => helperOf(launcher, /worker\.cjs/), 'the worker');
  if (step === 'prepare') {
    brake.stop(worker);
    return { worker, criu: 0 };
  }
  await eventually(() => (hooks('begins') > begun ? true : undefined), 'the hook');
  if (step === 'hooks') return { worker, criu: 0 };
  brake.stop(worker);
  rmSync(shut);
  await eventually(() => (hooks('ends') > ended ? true : undefined), 'the end of the hook');
  if (step === 'ready') return { worker, criu: 0 };
  brake.go(worker);
  const criu = spin(() => {
    if (!isAlive(worker)) return 0;
    return writesPages(person, pair) ? helperOf(launcher, / dump /) : undefined;
  });
  if (criu === undefined || criu === 0) {
    // On a busy machine a dump may be over before it is seen; then the next one is looked at. The worker lives on to read
    // what it has written, and would be taken for the next one.
    await eventually(() => (isAlive(worker) ? undefined : true), 'the end of the worker', 60_000);
    return undefined;
  }
  brake.stop(criu);
  if (step === 'dump') return { worker, criu };
  brake.stop(worker);
  brake.go(criu);
  await eventually(() => (existsSync(`/proc/${criu}`) ? undefined : true), 'the end of CRIU');
  if (step === 'rewrite') return { worker, criu: 0 };
  // It has reaped CRIU, and then tells the worker, before it sleeps again: a worker that was not told would wait for ever.
  await eventually(() => (stateOf(launcher) === 'S' ? true : undefined), 'the launcher at rest');
  brake.stop(launcher);
  brake.go(worker);
  await eventually(() => {
    const [draft = ''] = drafts(person, pair.id);
    return existsSync(join(person.scratch, draft, 'restore')) ? true : undefined;
  }, 'the image being complete');
  return { worker, criu: 0 };
}
