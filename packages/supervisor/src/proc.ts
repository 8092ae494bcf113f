import { readdirSync, readFileSync, readlinkSync } from 'node:fs';

/** A process as /proc shows it, with pids of the pod. */
export interface ProcessFacts {
  readonly pid: number;
  readonly parentPid: number;
  readonly comm: string;
  /** State letter of /proc/PID/stat: `T` stopped, `Z` zombie, ... */
  readonly state: string;
  /** Start time in clock ticks since boot: with the pid it names a process for good. */
  readonly startTime: number;
}

/** One open descriptor and what it refers to, as readlink(2) of /proc/PID/fd/N tells. */
export interface DescriptorFacts {
  readonly pid: number;
  readonly fd: number;
  readonly target: string;
}

/** Reads all processes of the pod, in order of their pids. Those that end meanwhile are left out. */
export function readProcesses(): ProcessFacts[] {
  return readdirSync('/proc')
    .filter((name) => /^[0-9]+$/.test(name))
    .map((name) => readProcess(Number(name)))
    .filter((process) => process !== null)
    .sort((a, b) => a.pid - b.pid);
}

/** Reads one process; null when there is none. */
export function readProcess(pid: number): ProcessFacts | null {
  const stat = readText(`/proc/${pid}/stat`);
  if (stat === null) return null;
  // The name may contain blanks and parentheses: the fields follow its last one.
  const open = stat.indexOf('(');
  const close = stat.lastIndexOf(')');
  const fields = stat.slice(close + 2).split(' ');
  return {
    pid,
    comm: stat.slice(open + 1, close),
    state: fields[0] ?? '?',
    parentPid: Number(fields[1]),
    startTime: Number(fields[19]),
  };
}

/** Splits the pod's processes into the tree below `root` and the others. */
export function splitTree(
  processes: readonly ProcessFacts[],
  root: number,
): { tree: ProcessFacts[]; others: ProcessFacts[] } {
  const inTree = new Set([root]);
  // Parents may have higher pids than their children once pids have wrapped: repeat until nothing is added.
  for (let before = 0; before !== inTree.size;) {
    before = inTree.size;
    for (const process of processes) if (inTree.has(process.parentPid)) inTree.add(process.pid);
  }
  return {
    tree: processes.filter((process) => inTree.has(process.pid)),
    others: processes.filter((process) => !inTree.has(process.pid)),
  };
}

/** Reads the descriptors of a process; those that close meanwhile are left out. */
export function readDescriptors(pid: number): DescriptorFacts[] {
  const found: DescriptorFacts[] = [];
  for (const name of listDirectory(`/proc/${pid}/fd`)) {
    const target = readLink(`/proc/${pid}/fd/${name}`);
    if (target !== null) found.push({ pid, fd: Number(name), target });
  }
  return found;
}

/** Returns a symbolic link's target, or null when it is gone or may not be read. */
export function readLink(path: string): string | null {
  try {
    return readlinkSync(path);
  } catch {
    // The process or the descriptor has gone since the directory was read.
    return null;
  }
}

/** Returns a small file's text, or null when it is gone or may not be read. */
export function readText(path: string): string | null {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // The process has gone since the directory was read.
    return null;
  }
}

/** Returns the lines of a table below /proc without its heading, at most `max`; none when it may not be read. */
export function readLines(path: string, max: number): string[] {
  return (readText(path) ?? '').split('\n', max).slice(1).filter(Boolean);
}

/** Returns the present moment as start times of processes are counted: clock ticks since boot, 100 a second (USER_HZ). */
export function ticksNow(): number {
  const uptime = Number((readFileSync('/proc/uptime', 'utf8').split(' ')[0] ?? '0').trim());
  return Math.floor(uptime * 100);
}

function listDirectory(path: string): string[] {
  try {
    return readdirSync(path);
  } catch {
    // The process has gone, or it is a zombie, which has no descriptors.
    return [];
  }
}
