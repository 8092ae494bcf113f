import { chownSync, existsSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { eventually, root } from '@forkpoint/testkit';
import type { Person, Running, SpawnOptions } from '@forkpoint/testkit';

/** The command under test. */
export const command = join(root, 'bin/forkpoint');

/**
 * A shell's side of docs/protocol.md. `ask DEST STOP` asks for a checkpoint and leaves the answer in `outcome`, the
 * kind of answer in `kind` and the first argument of a restore in `arg`.
 */
export const ASK = `
ask() {
  printf '{"v":1,"op":"checkpoint","pid":%d,"to":"%s","cwd":"%s","stop":%s}\\n' $$ "$1" "$PWD" "\${2:-true}" > "$FORKPOINT_DIR/request"
  read -r outcome < "$FORKPOINT_DIR/outcome"
  kind=\${outcome#*\\"outcome\\":\\"}; kind=\${kind%%\\"*}
  arg=\${outcome#*\\"args\\":\\[\\"}; arg=\${arg%%\\"*}
}
`;

/** Returns the words that run a shell program which can `ask`. */
export function shell(script: string, ...args: string[]): string[] {
  return ['sh', '-c', ASK + script, 'sh', ...args];
}

/** A living run as `forkpoint ps --json` tells it. */
export interface Living {
  readonly id: string;
  readonly name: string;
  readonly pid: number;
  readonly hostPid: number | null;
  readonly generation: number;
  readonly parentId: string | null;
  readonly processes: readonly {
    readonly pid: number;
    readonly hostPid: number;
    readonly command: readonly string[];
  }[];
}

/** Returns the living runs. */
export async function living(person: Person): Promise<Living[]> {
  return (await person.json(['ps'])) as Living[];
}

/** Starts `forkpoint ARGS` in a shell, with `redirection` behind the words, such as `> out 2>&1`. */
export function redirected(
  person: Person,
  args: readonly string[],
  redirection: string,
  options?: SpawnOptions,
): Running {
  return person.start(['sh', '-c', `"$@" ${redirection}`, 'sh', command, ...args], options);
}

/** Starts `forkpoint ARGS` on a terminal of its own; what is written to the child's stdin is typed there. */
export function onTerminal(person: Person, args: readonly string[], options?: SpawnOptions): Running {
  const words = [command, ...args].map((word) => `'${word.replaceAll("'", "'\\''")}'`).join(' ');
  // script(1) comes with every Debian; -e hands on the exit code of what it ran.
  return person.start(['script', '-q', '-e', '-c', words, '/dev/null'], {
    ...options,
    env: { TERM: 'xterm', ...options?.env },
  });
}

/** Tells whether a process lives; a zombie does not. */
export function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    // There is no such process.
    return false;
  }
}

/** Waits until none of the processes lives. */
export async function gone(pids: readonly number[], what: string): Promise<void> {
  await eventually(() => (pids.some(isAlive) ? undefined : true), `the end of ${what}`);
}

/** Returns the children of a process, from all its threads. */
export function childrenOf(pid: number): number[] {
  try {
    return readdirSync(`/proc/${pid}/task`).flatMap((thread) =>
      readFileSync(`/proc/${pid}/task/${thread}/children`, 'utf8').split(' ').filter(Boolean).map(Number),
    );
  } catch {
    // It has ended in between.
    return [];
  }
}

/** Returns the words of a process; empty when it has ended. */
export function commandOf(pid: number): string {
  try {
    return readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' ');
  } catch {
    // It has ended in between.
    return '';
  }
}

/** Returns the host's pid of the inner launcher of a run. */
export function launcherOf(person: Person, id: string): number {
  const record: unknown = JSON.parse(readFileSync(join(person.home, 'runs', id, 'run.json'), 'utf8'));
  if (typeof record !== 'object' || record === null || !('launcherPid' in record))
    throw new Error(`run ${id} has no record`);
  return Number(record.launcherPid);
}

/**
 * Sends a signal to a run's program as `forkpoint kill` does, without the start of a command: for tests in which it is only the way to
 * have the program do something.
 */
export function signal(person: Person, id: string, name: NodeJS.Signals): void {
  const record: unknown = JSON.parse(readFileSync(join(person.home, 'runs', id, 'run.json'), 'utf8'));
  if (typeof record !== 'object' || record === null || !('pid' in record))
    throw new Error(`run ${id} has no record`);
  const program = childrenOf(launcherOf(person, id)).find((pid) => pidInPod(pid) === record.pid);
  if (program === undefined) throw new Error(`the program of run ${id} has ended`);
  process.kill(program, name);
}

/** Returns the pid that a process has in its own namespace. */
function pidInPod(pid: number): number {
  try {
    const status = readFileSync(`/proc/${pid}/status`, 'latin1');
    return Number(/^NSpid:.*\t(\d+)$/m.exec(status)?.[1]);
  } catch {
    // It has ended in between.
    return Number.NaN;
  }
}

/** Returns the log of a detached run. */
export function logOf(person: Person, id: string): string {
  return readFileSync(join(person.home, 'runs', id, 'log'), 'utf8');
}

/** Waits until a detached run's log matches. */
export async function logged(
  person: Person,
  id: string,
  pattern: RegExp,
  timeoutMs?: number,
): Promise<RegExpExecArray> {
  return await eventually(
    () => pattern.exec(logOf(person, id)) ?? undefined,
    `${String(pattern)} in the log of ${id}`,
    timeoutMs,
  );
}

/** Waits until a pattern with the flag `g` has matched a detached run's log more than `count` times; returns the last match. */
export async function loggedMore(
  person: Person,
  id: string,
  pattern: RegExp,
  count: number,
): Promise<RegExpExecArray> {
  return await eventually(
    () => {
      const found = [...logOf(person, id).matchAll(pattern)];
      return found.length > count ? found.at(-1) : undefined;
    },
    `${String(pattern)} ${count + 1} times in the log of ${id}`,
  );
}

/** Starts a detached run and returns its id. */
export async function detach(
  person: Person,
  program: readonly string[],
  options: readonly string[] = [],
): Promise<string> {
  const started = await person.json(['run', '-d', ...options, '--', ...program]);
  if (typeof started !== 'object' || started === null || !('id' in started))
    throw new Error('run -d --json told no id');
  return String(started.id);
}

/** Restores an image detached and returns the run's id. */
export async function revive(
  person: Person,
  image: string,
  options: readonly string[] = [],
): Promise<string> {
  const started = await person.json(['restore', image, '-d', ...options]);
  if (typeof started !== 'object' || started === null || !('id' in started))
    throw new Error('restore -d --json told no id');
  return String(started.id);
}

/** Writes a file of the person's own in the scratch directory. */
export function write(person: Person, name: string, text: string): string {
  const path = join(person.scratch, name);
  writeFileSync(path, text);
  chownSync(path, person.uid, person.uid);
  return path;
}

/** Has a run of c/chain.c change some of its pages, unless `changes` is false, and say what it then holds. */
export async function changeOf(person: Person, id: string, changes = true): Promise<string> {
  if (changes) {
    signal(person, id, 'SIGUSR1');
    await logged(person, id, /^dirty \d+$/m);
  }
  signal(person, id, 'SIGUSR2');
  return String((await logged(person, id, /^(right [0-9a-f]+|WRONG.*)$/m))[1]);
}

/** Waits until an image has its digests, which are made behind the answer of who took it: after that nothing changes it. */
export async function digested(image: string): Promise<void> {
  await eventually(() => existsSync(join(image, 'digests.json')) || undefined, `the digests of ${image}`);
}
