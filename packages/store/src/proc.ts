import { readdir, readFile } from 'node:fs/promises';
import { errnoOf } from './error.ts';

/** What /proc/PID/stat and /proc/PID/status say about a process. */
export interface ProcessFacts {
  readonly hostPid: number;
  readonly parentPid: number;
  /** Clock ticks since boot. */
  readonly start: string;
  /** The letter of proc(5), `Z` for a zombie. */
  readonly state: string;
}

/** Returns the facts of a process, or undefined when there is none with this pid. */
export async function processFacts(hostPid: number): Promise<ProcessFacts | undefined> {
  const content = await readProc(`/proc/${hostPid}/stat`);
  if (content === undefined) return undefined;
  // The name in parentheses may hold blanks and parentheses itself, so that fields are counted from the last one.
  const fields = content.slice(content.lastIndexOf(')') + 2).split(' ');
  const [state, parent] = fields;
  // Field 22 of proc(5); this list starts with field 3.
  const start = fields[19];
  if (state === undefined || parent === undefined || start === undefined) return undefined;
  return { hostPid, parentPid: Number(parent), start, state };
}

/** Returns the pids of a process from the outermost to its own pid namespace, or undefined when it is gone. */
export async function namespacePids(hostPid: number): Promise<number[] | undefined> {
  const status = await readProc(`/proc/${hostPid}/status`);
  const line = status === undefined ? null : /^NSpid:\s*(.*)$/m.exec(status);
  return line?.[1]?.split(/\s+/).filter(Boolean).map(Number);
}

/** Returns the argument vector of a process; its name in brackets when it has none. */
export async function commandOf(hostPid: number): Promise<string[]> {
  const content = await readProc(`/proc/${hostPid}/cmdline`);
  if (content !== undefined && content !== '') return content.replace(/\0$/, '').split('\0');
  const name = await readProc(`/proc/${hostPid}/comm`);
  return name === undefined ? [] : [`[${name.trim()}]`];
}

/** Returns private and shared resident memory in bytes; zeros when the process is gone or a zombie. */
export async function memoryOf(hostPid: number): Promise<{ privateBytes: number; sharedBytes: number }> {
  const content = (await readProc(`/proc/${hostPid}/smaps_rollup`)) ?? '';
  const sum = (pattern: RegExp): number => {
    let kilobytes = 0;
    for (const match of content.matchAll(pattern)) kilobytes += Number(match[1]);
    return kilobytes * 1024;
  };
  return {
    privateBytes: sum(/^Private_(?:Clean|Dirty|Hugetlb):\s*(\d+) kB$/gm),
    sharedBytes: sum(/^Shared_(?:Clean|Dirty|Hugetlb):\s*(\d+) kB$/gm),
  };
}

/** Files of /proc that are read at the same time. */
const READ_AT_ONCE = 64;

let looking: Promise<ProcessFacts[]> | undefined;

/** Returns all processes. One look serves everybody who asks while it is under way: `ps` asks once for each run. */
async function allProcesses(): Promise<ProcessFacts[]> {
  looking ??= lookAtAll().finally(() => (looking = undefined));
  return await looking;
}

async function lookAtAll(): Promise<ProcessFacts[]> {
  const pids = (await readdir('/proc')).filter((name) => /^\d+$/.test(name)).map(Number);
  const all: ProcessFacts[] = [];
  while (pids.length > 0) {
    const some = await Promise.all(pids.splice(0, READ_AT_ONCE).map(processFacts));
    all.push(...some.filter((facts) => facts !== undefined));
  }
  return all;
}

/** Returns a process's descendants of any depth, itself excluded. */
export async function descendantsOf(hostPid: number): Promise<ProcessFacts[]> {
  const all = await allProcesses();
  const children = new Map<number, ProcessFacts[]>();
  for (const facts of all) {
    const siblings = children.get(facts.parentPid);
    if (siblings === undefined) children.set(facts.parentPid, [facts]);
    else siblings.push(facts);
  }
  const found: ProcessFacts[] = [];
  const queue = [hostPid];
  const seen = new Set(queue);
  for (let next = queue.shift(); next !== undefined; next = queue.shift()) {
    for (const child of children.get(next) ?? []) {
      if (seen.has(child.hostPid)) continue;
      seen.add(child.hostPid);
      found.push(child);
      queue.push(child.hostPid);
    }
  }
  return found;
}

async function readProc(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    // Not to be taken for a process that is gone.
    if (['EMFILE', 'ENFILE'].includes(errnoOf(error) ?? '')) throw error;
    // Processes end at any time, and those of others are not readable: both mean that there is nothing to tell.
    return undefined;
  }
}
