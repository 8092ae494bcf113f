import { chownSync, lstatSync, mkdtempSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { keepDigests, lendDigests } from './known-digests.ts';
import { nodeBinary, root } from './places.ts';
import { eventually, Running } from './process.ts';
import type { Finished, SpawnOptions } from './process.ts';

/** Uid and gid of the ordinary user when the tests run as root. It has no entry in /etc/passwd, as in many containers. */
const ORDINARY = 61_001;
/** Somebody else, likewise. */
const OTHER = 61_002;

/** Somebody who uses forkpoint: a user with an own data directory and scratch directory. */
export interface Person {
  readonly uid: number;
  /** FORKPOINT_HOME. */
  readonly home: string;
  /** An empty directory of the person's own. */
  readonly scratch: string;
  /** Starts a command as this person. */
  start(argv: readonly string[], options?: SpawnOptions): Running;
  /** Starts `forkpoint ARGS`. */
  forkpoint(args: readonly string[], options?: SpawnOptions): Running;
  /** Runs `forkpoint ARGS` to its end. */
  finish(args: readonly string[], options?: SpawnOptions): Promise<Finished>;
  /** Runs `forkpoint ARGS --json` and returns what it printed; throws with its words when it fails. */
  json(args: readonly string[], options?: SpawnOptions): Promise<unknown>;
  /** Ends all runs and removes both directories. */
  leave(): Promise<void>;
}

/**
 * Creates a person: an ordinary user, another one (the same when the tests are not root's), or root where the tests may. The engine comes from FORKPOINT_TEST_ENGINE, which
 * `npm test` sets; without it the test fails rather than being left out. Commands are started with `node`; undefined for
 * the one on PATH, as a newcomer has it.
 */
export function createPerson(
  kind: 'ordinary' | 'other' | 'root' = 'ordinary',
  { node = nodeBinary(24) }: { node?: string | undefined } = {},
): Person {
  const engine = process.env['FORKPOINT_TEST_ENGINE'];
  if (engine === undefined)
    throw new Error('FORKPOINT_TEST_ENGINE is not set: run these tests with `npm run test:engine`');
  const isRoot = process.getuid?.() === 0;
  if (kind === 'root' && !isRoot) throw new Error('only root can be root');
  const uids = { ordinary: ORDINARY, other: OTHER, root: 0 };
  const uid = isRoot ? uids[kind] : (process.getuid?.() ?? 0);
  const home = mkdtempSync(join(tmpdir(), 'fp-home-'));
  const scratch = mkdtempSync(join(tmpdir(), 'fp-work-'));
  symlinkSync(engine, join(home, 'engine'));
  if (isRoot) for (const directory of [home, scratch]) chownSync(directory, uid, uid);
  lendDigests(home, uid);
  const prefix = isRoot && uid !== 0 ? becoming(uid) : [];
  const env = environment(home, scratch, node);
  const start = (argv: readonly string[], options: SpawnOptions = {}): Running =>
    new Running([...prefix, ...argv], {
      ...options,
      cwd: options.cwd ?? scratch,
      env: { ...env, ...options.env },
    });
  const command = join(root, 'bin/forkpoint');
  const forkpoint = (args: readonly string[], options?: SpawnOptions): Running =>
    start([command, ...args], options);
  const finish = async (args: readonly string[], options: SpawnOptions = {}): Promise<Finished> => {
    const running = forkpoint(args, options);
    if (options.input === undefined) running.child.stdin?.end();
    return await running.end();
  };
  return {
    uid,
    home,
    scratch,
    start,
    forkpoint,
    finish,
    json: async (args, options) => {
      const [verb = '', ...rest] = args;
      const { code, stdout, stderr } = await finish([verb, '--json', ...rest], options);
      if (code !== 0) throw new Error(`forkpoint ${args.join(' ')} ended with ${code}: ${stderr}${stdout}`);
      return JSON.parse(stdout) as unknown;
    },
    leave: async () => {
      await endRuns(home);
      keepDigests(home);
      for (const directory of [home, scratch])
        rmSync(directory, { recursive: true, force: true, maxRetries: 3 });
    },
  };
}

/** What a person's commands find beside what the tests were started with. */
function environment(
  home: string,
  scratch: string,
  node: string | undefined,
): Record<string, string | undefined> {
  // What npm tells the scripts that it runs is about the person who started the tests.
  const npm = Object.keys(process.env).filter((name) => name.startsWith('npm_'));
  return {
    ...Object.fromEntries(npm.map((name) => [name, undefined])),
    HOME: scratch,
    FORKPOINT_HOME: home,
    FORKPOINT_NODE: node,
    XDG_DATA_HOME: undefined,
    NODE_OPTIONS: undefined,
    NO_COLOR: '1',
    // script(1) runs its line by it, and the one of whoever runs the tests may be any, or none.
    SHELL: '/bin/sh',
  };
}

/** The words before a command that root has an ordinary user run. */
function becoming(uid: number): string[] {
  return ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups', '--inh-caps=-all', '--'];
}

/** Kills the launchers of all runs; each takes its pod with it. */
async function endRuns(home: string): Promise<void> {
  const runs = join(home, 'runs');
  if (lstatSync(runs, { throwIfNoEntry: false }) === undefined) return;
  for (const id of readdirSync(runs)) {
    const launcher = launcherOf(join(runs, id));
    if (launcher === null) continue;
    try {
      process.kill(launcher, 'SIGKILL');
    } catch {
      // It has ended by itself.
      continue;
    }
    await eventually(() => (isAlive(launcher) ? undefined : true), `the end of run ${id}`);
  }
}

function launcherOf(directory: string): number | null {
  try {
    const record: unknown = JSON.parse(readFileSync(join(directory, 'run.json'), 'utf8'));
    const state = readFileSync(join(directory, 'state'), 'utf8');
    if (typeof record !== 'object' || record === null || !('launcherPid' in record)) return null;
    if (!state.startsWith('running') || !('launcherStart' in record)) return null;
    // A launcher that was killed could not note its end, and its number may be another process's by now.
    const stat = readFileSync(`/proc/${Number(record.launcherPid)}/stat`, 'utf8');
    const start = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]);
    return start === record.launcherStart ? Number(record.launcherPid) : null;
  } catch {
    // The run never started, or its launcher has gone.
    return null;
  }
}

function isAlive(pid: number): boolean {
  try {
    return !/^\d+ \(.*\) Z/.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    // There is no such process.
    return false;
  }
}
