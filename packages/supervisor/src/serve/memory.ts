import { readFile } from 'node:fs/promises';
import { memoryOf } from '@forkpoint/store';

/** What the processes of a worker hold and have used. */
export interface Usage {
  /** Resident memory of their own, and shared with others, in bytes. */
  readonly privateBytes: number;
  readonly sharedBytes: number;
  /** Time of the processor in the program, in the kernel for it, and together, in seconds. */
  readonly userSeconds: number;
  readonly systemSeconds: number;
  readonly cpuSeconds: number;
}

/** Nothing is known yet. */
export const NO_USAGE: Usage = {
  privateBytes: 0,
  sharedBytes: 0,
  userSeconds: 0,
  systemSeconds: 0,
  cpuSeconds: 0,
};

/** USER_HZ is 100 on every architecture that Node.js runs on (asm-generic/param.h). */
const TICKS_PER_SECOND = 100;
/** A tree with more processes than this is measured in part. */
const PROCESSES_MAX = 256;

/** Measures a process with all below it; zeros when it is gone. */
export async function usageOf(hostPid: number): Promise<Usage> {
  const tree = [hostPid];
  for (let at = 0; at < tree.length && tree.length < PROCESSES_MAX; at++)
    tree.push(...(await childrenOf(tree[at] ?? hostPid)));
  const parts = await Promise.all(
    tree.map(async (pid) => ({ memory: await memoryOf(pid), times: await timesOf(pid) })),
  );
  const sum = (of: (part: (typeof parts)[number]) => number): number =>
    parts.reduce((total, part) => total + of(part), 0);
  return {
    privateBytes: sum(({ memory }) => memory.privateBytes),
    sharedBytes: sum(({ memory }) => memory.sharedBytes),
    userSeconds: sum(({ times }) => times.user),
    systemSeconds: sum(({ times }) => times.system),
    cpuSeconds: sum(({ times }) => times.user + times.system),
  };
}

/** Children of the main thread; those that another thread has started are left out, as libuv starts none there. */
async function childrenOf(pid: number): Promise<number[]> {
  // A kernel without CONFIG_PROC_CHILDREN has no such file: then children are not measured.
  const text = (await readProc(`/proc/${pid}/task/${pid}/children`)) ?? '';
  return text.split(' ').filter(Boolean).map(Number);
}

async function timesOf(pid: number): Promise<{ user: number; system: number }> {
  const stat = (await readProc(`/proc/${pid}/stat`)) ?? '';
  // Fields 14 and 15 of proc(5), counted from behind the name, which may hold anything.
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  return {
    user: Number(fields[11] ?? 0) / TICKS_PER_SECOND,
    system: Number(fields[12] ?? 0) / TICKS_PER_SECOND,
  };
}

async function readProc(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch {
    // Processes end at any time.
    return undefined;
  }
}
