import { constants } from 'node:fs';
import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf, reasonOf, StoreError } from './error.ts';
import { isId } from './names.ts';
import { processFacts } from './proc.ts';
import { MAX_RECORD_BYTES, parseRunRecord, parseState } from './run-record.ts';
import type { RunRecord } from './run-record.ts';
import { closeMatches } from './suggest.ts';

/** A run and what has become of it. */
export interface Run extends RunRecord {
  /** The run's directory. */
  readonly dir: string;
  readonly isAlive: boolean;
  /** Exit code of a run that ended; null while it lives and when its launcher was killed. */
  readonly exitCode: number | null;
}

/** Returns all runs below `runs`, oldest first; directories without a usable record are left out. */
export async function listRuns(runs: string): Promise<Run[]> {
  let entries: string[];
  try {
    entries = (await readdir(runs)).filter(isId);
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return [];
    throw new StoreError(
      'ERR_FORKPOINT_HOME',
      `the runs below ${runs} cannot be listed: ${reasonOf(cause)}`,
      { cause },
    );
  }
  const found = await Promise.all(entries.map((id) => readRun(join(runs, id)).catch(missing)));
  return found
    .filter((run) => run !== undefined)
    .sort((a, b) => a.startedAt.localeCompare(b.startedAt) || a.id.localeCompare(b.id));
}

/**
 * Finds a run by its name or by a unique prefix of its id. Living runs go before ended ones, and the newest of several ended ones is meant.
 * Throws ERR_FORKPOINT_RUN_NOT_FOUND with close matches as hint, or ERR_FORKPOINT_RUN_AMBIGUOUS.
 */
export async function findRun(runs: string, nameOrPrefix: string): Promise<Run> {
  const all = await listRuns(runs);
  const named = all.filter((run) => run.name === nameOrPrefix);
  const living = named.filter((run) => run.isAlive);
  if (living.length > 1) throw ambiguous(nameOrPrefix, living);
  const byName = living[0] ?? named.at(-1);
  if (byName !== undefined) return byName;
  const prefixed = /^[0-9a-f]{1,12}$/.test(nameOrPrefix)
    ? all.filter((run) => run.id.startsWith(nameOrPrefix))
    : [];
  const prefixedLiving = prefixed.filter((run) => run.isAlive);
  const [only, ...others] = prefixedLiving.length > 0 ? prefixedLiving : prefixed;
  if (only !== undefined && others.length === 0) return only;
  if (only !== undefined) throw ambiguous(nameOrPrefix, [only, ...others]);
  const close = closeMatches(
    nameOrPrefix,
    all.map((run) => run.name),
  );
  const hint =
    close.length > 0
      ? `Did you mean ${close.map((name) => `\`${name}\``).join(', ')}?`
      : 'See the runs with `forkpoint ps --all`';
  throw new StoreError('ERR_FORKPOINT_RUN_NOT_FOUND', `there is no run called \`${nameOrPrefix}\``, { hint });
}

/** Reads one run from its directory; throws ERR_FORKPOINT_RUN_INVALID, or a system error when it is gone. */
export async function readRun(dir: string): Promise<Run> {
  const file = join(dir, 'run.json');
  if ((await stat(file)).size > MAX_RECORD_BYTES) {
    throw new StoreError('ERR_FORKPOINT_RUN_INVALID', `${file} is too long`);
  }
  const record = parseRunRecord(await readFile(file, 'utf8'));
  // The state is read last: a run that ends between the two steps then shows its exit code.
  const isAlive = await isLauncherAlive(record);
  const state = await stateOf(dir);
  const exitCode = state?.kind === 'exited' ? state.code : null;
  return { ...record, dir, isAlive: isAlive && exitCode === null, exitCode };
}

/** Returns whether the launcher of a run still lives: its pid exists and started when the record says. Only for use on the host. */
export async function isLauncherAlive(
  record: Pick<RunRecord, 'launcherPid' | 'launcherStart'>,
): Promise<boolean> {
  const facts = await processFacts(record.launcherPid);
  return facts !== undefined && facts.start === record.launcherStart && facts.state !== 'Z';
}

/**
 * Returns whether nobody reads a run's requests, so that its launcher is gone; also from within a pod, where its process
 * cannot be seen. False when the run's directory does not exist.
 */
export async function isUnattended(dir: string): Promise<boolean> {
  const errno = await openRequest(dir);
  // ENXIO: nobody has the FIFO open for reading (fifo(7)).
  return errno === 'ENXIO' || (errno !== null && (await isCollected(dir)));
}

/** Returns whether somebody reads a run's requests: its launcher, also before it has noted anything. */
export async function isAttended(dir: string): Promise<boolean> {
  return (await openRequest(dir)) === null;
}

/** Returns null when somebody reads the FIFO of requests, else the errno name of why it cannot be opened. */
async function openRequest(dir: string): Promise<string | null> {
  try {
    const handle = await open(join(dir, 'ctl/request'), constants.O_WRONLY | constants.O_NONBLOCK);
    await handle.close();
    return null;
  } catch (error) {
    const errno = errnoOf(error);
    if (errno === undefined) throw error;
    return errno;
  }
}

/** Returns whether `gc` has taken the control directory of a run, which it does when the run has ended. */
async function isCollected(dir: string): Promise<boolean> {
  const has = async (name: string): Promise<boolean> =>
    await stat(join(dir, name)).then(
      () => true,
      () => false,
    );
  return !(await has('ctl')) && (await has('run.json'));
}

/** Returns the parsed `state` file of a run directory, or undefined when there is none. */
export async function stateOf(dir: string): Promise<ReturnType<typeof parseState>> {
  try {
    return parseState(await readFile(join(dir, 'state'), 'utf8'));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
}

function ambiguous(typed: string, runs: readonly Run[]): StoreError {
  const list = runs.slice(0, 5).map((run) => `${run.id} (${run.name})`);
  return new StoreError(
    'ERR_FORKPOINT_RUN_AMBIGUOUS',
    `\`${typed}\` may be any of ${runs.length} runs: ${list.join(', ')}`,
    {
      hint: 'Give more of the id',
    },
  );
}

function missing(error: unknown): undefined {
  // A directory without a record belongs to a run that is just starting, or never did.
  if (error instanceof StoreError || errnoOf(error) !== undefined) return undefined;
  throw error;
}
