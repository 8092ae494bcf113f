import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { EngineError, errorCode } from './error.ts';

/** How long and how loudly to wait for a lock. */
export interface LockOptions {
  /** Milliseconds; 15 minutes when absent. */
  readonly timeoutMs?: number;
  readonly log?: (line: string) => void;
  readonly signal?: AbortSignal | undefined;
}

const DEFAULT_TIMEOUT_MS = 15 * 60_000;
const POLL_MS = 50;

/**
 * Runs `work` while this process owns the lock file at `path`. The file holds the owner's pid and its start time, so that a
 * lock whose owner is gone, or whose pid belongs to another process by now, does not count. Throws
 * ERR_FORKPOINT_SETUP_LOCKED when the owner keeps it longer than the limit, ERR_FORKPOINT_ABORTED on the signal.
 */
export async function withLock<T>(path: string, options: LockOptions, work: () => Promise<T>): Promise<T> {
  const mine = await acquire(path, options);
  try {
    return await work();
  } finally {
    // Somebody who wrongly took the lock for stale would own the file by now: only our own is removed.
    if (readText(path) === mine) rmSync(path, { force: true });
  }
}

/**
 * Returns when a process was started, in clock ticks since the machine was (field 22 of /proc/PID/stat, proc(5)); null when
 * it does not exist or is a zombie.
 */
export function processStartTime(pid: number): string | null {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The name before it is in parentheses and may itself contain spaces and parentheses.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  if (fields[0] === 'Z' || fields[0] === 'X') return null;
  return fields[19] ?? null;
}

async function acquire(path: string, options: LockOptions): Promise<string> {
  const limit = Date.now() + (options.timeoutMs ?? DEFAULT_TIMEOUT_MS);
  const mine = `${process.pid} ${processStartTime(process.pid) ?? '0'} ${randomBytes(8).toString('hex')}\n`;
  mkdirSync(dirname(path), { recursive: true, mode: 0o700 });
  for (let isFirst = true; ; isFirst = false) {
    if (tryTake(path, mine)) return mine;
    const owner = readText(path);
    if (owner === null) continue;
    if (!isAlive(owner)) {
      removeStale(path, owner);
      continue;
    }
    const pid = owner.split(' ')[0] ?? '?';
    if (isFirst) options.log?.(`waiting for another set-up (process ${pid}) to finish`);
    if (options.signal?.aborted === true) {
      throw new EngineError('ERR_FORKPOINT_ABORTED', `waiting for the lock ${path} was cancelled`);
    }
    if (Date.now() >= limit) {
      throw new EngineError(
        'ERR_FORKPOINT_SETUP_LOCKED',
        `process ${pid} holds the lock ${path} for too long`,
        {
          hint: `end that process (\`kill ${pid}\`) and start the set-up again`,
        },
      );
    }
    await wait(POLL_MS);
  }
}

/** A hard link to a file that is complete already: the lock never exists without its owner's name in it. */
function tryTake(path: string, content: string): boolean {
  const beside = `${path}.${randomBytes(6).toString('hex')}`;
  writeFileSync(beside, content, { mode: 0o600, flag: 'wx' });
  try {
    linkSync(beside, path);
    return true;
  } catch (error) {
    if (errorCode(error) === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(beside, { force: true });
  }
}

function isAlive(owner: string): boolean {
  const [pid = '', startTime = ''] = owner.split(' ');
  if (!/^[1-9][0-9]{0,9}$/.test(pid)) return false;
  return processStartTime(Number(pid)) === startTime;
}

/**
 * Two waiters may see the same stale lock: the rename decides. Whoever moved a lock that is not the stale one puts it back.
 * Should that fail as well, two set-ups run at once, which costs time and nothing else: each works in a directory of its
 * own and publishes it by rename.
 */
function removeStale(path: string, stale: string): void {
  const aside = `${path}.${randomBytes(6).toString('hex')}`;
  try {
    renameSync(path, aside);
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return;
    throw error;
  }
  try {
    if (readText(aside) !== stale) linkSync(aside, path);
  } catch (error) {
    if (errorCode(error) !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

function readText(path: string): string | null {
  try {
    return readFileSync(path, 'latin1').slice(0, 4096);
  } catch (error) {
    if (errorCode(error) === 'ENOENT' || errorCode(error) === 'ESRCH') return null;
    throw error;
  }
}
