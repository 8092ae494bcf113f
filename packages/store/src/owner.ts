import { readlinkSync } from 'node:fs';
import { join } from 'node:path';
import { isId } from './names.ts';
import { processFacts } from './proc.ts';
import { isAttended, readRun } from './runs.ts';

/**
 * Returns the word that names this process as the owner of a temporary directory: its pid, its start time, and the pid
 * namespace in which both count. Throws when /proc is not there.
 */
export async function ownOwner(): Promise<string> {
  const facts = await processFacts(process.pid);
  return `p${process.pid}-${facts?.start ?? '0'}-${pidNamespace()}`;
}

/** Returns whether the owner of a temporary directory has ended; undefined when that cannot be known here. */
export async function isOwnerOver(owner: string, runs: string): Promise<boolean | undefined> {
  const [, pid, start, namespace] = /^p(\d+)-(\d+)-(\d+)$/.exec(owner) ?? [];
  if (pid !== undefined) {
    // Pids of another container mean nothing here.
    if (namespace !== pidNamespace()) return undefined;
    const facts = await processFacts(Number(pid));
    // The pid 1 of many a container reaps nobody, so that the dead stay there as zombies.
    return facts === undefined || facts.start !== start || facts.state === 'Z';
  }
  if (!isId(owner)) return undefined;
  const run = await readRun(join(runs, owner)).catch(() => undefined);
  if (run === undefined) return undefined;
  // A run that has told its end may still flatten the image that it left.
  return !run.isAlive && !(await isAttended(run.dir));
}

/** The inode number of this process's pid namespace. */
function pidNamespace(): string {
  return /\d+/.exec(readlinkSync('/proc/self/ns/pid'))?.[0] ?? '0';
}
