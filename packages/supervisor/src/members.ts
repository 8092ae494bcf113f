import { existsSync, readdirSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseRequest } from '@forkpoint/manifest';
import type { Resource } from '@forkpoint/manifest';
import { SupervisorError } from './error.ts';
import type { LauncherLink } from './link.ts';
import { readProcess, readText } from './proc.ts';

/** A process of the program that runs the forkpoint library. */
export interface Member {
  readonly pid: number;
  /** Path of the FIFO at which it blocks. */
  readonly outcome: string;
  /** What it said of itself when it joined; null when it was unreadable. */
  readonly info: { readonly name: string; readonly version: string } | null;
}

/** Added to the time limit of members, in milliseconds: time in which one that gives up can say which of its threads is to blame. */
const GRACE_MS = 1_500;
/** How often it is looked whether those who are waited for still live, in milliseconds. */
const LOOK_MS = 100;

const TOO_LATE = `${JSON.stringify({
  v: 1,
  outcome: 'failed',
  code: 'ERR_FORKPOINT_TOO_LATE',
  message: 'The checkpoint that this process got ready for is over.',
})}\n`;

function outcomeOf(controlDirectory: string, pid: number): string {
  return join(controlDirectory, 'members', String(pid), 'outcome');
}

/** Returns the members among the given pids. */
export function findMembers(controlDirectory: string, pids: ReadonlySet<number>): Member[] {
  const directory = join(controlDirectory, 'members');
  return (
    readdirSync(directory)
      .map(Number)
      // A process that has left before the launcher read its `join` has a directory again, but nothing of its own in it.
      .filter((pid) => pids.has(pid) && existsSync(join(directory, String(pid), 'info.json')))
      .map((pid) => ({
        pid,
        outcome: join(directory, String(pid), 'outcome'),
        info: readInfo(directory, pid),
      }))
  );
}

function readInfo(directory: string, pid: number): Member['info'] {
  try {
    const value: unknown = JSON.parse(readText(join(directory, String(pid), 'info.json')) ?? 'null');
    const runtime: unknown =
      typeof value === 'object' && value !== null && 'runtime' in value ? value.runtime : null;
    if (typeof runtime !== 'object' || runtime === null || !('name' in runtime) || !('version' in runtime))
      return null;
    return { name: String(runtime.name), version: String(runtime.version) };
  } catch {
    // A member that is just joining has written half of the file; only its version stays unknown.
    return null;
  }
}

/**
 * Brings members to the point where they block: asks them with ask.json and SIGURG, except the one that announced the
 * checkpoint itself, and waits until all are ready. One that ends meanwhile is waited for no longer: the others would stand
 * still for a process that is gone. `ready` holds those that block.
 * Throws ERR_FORKPOINT_TIMEOUT, naming those that did not come, ERR_FORKPOINT_HOOK when one cannot take part, or
 * ERR_FORKPOINT_CANCELLED when nobody wants the checkpoint any more.
 */
export async function gather(
  link: LauncherLink,
  options: {
    readonly controlDirectory: string;
    readonly members: readonly Member[];
    readonly announced: number | null;
    readonly ask: string;
    readonly timeoutMs: number;
    readonly ready: Set<Member>;
  },
): Promise<void> {
  const { controlDirectory, members, announced, ask, timeoutMs, ready } = options;
  // Members count from the same clock; what they say at their limit has to arrive before ours.
  const until = Date.now() + timeoutMs;
  const asked = members.filter((member) => member.pid !== announced);
  if (asked.length > 0) {
    const path = join(controlDirectory, 'ask.json');
    writeFileSync(
      `${path}.new`,
      `${JSON.stringify({ v: 1, ask, pids: asked.map(({ pid }) => pid), until })}\n`,
      { mode: 0o600 },
    );
    renameSync(`${path}.new`, path);
    for (const member of asked) signal(member.pid);
  }
  const deadline = setTimeoutSignal(timeoutMs + GRACE_MS);
  // Whoever is asked twice for the next request would lose one.
  let coming = link.nextRequest();
  try {
    while (members.some((member) => !ready.has(member) && isAlive(member))) {
      const line = await within(LOOK_MS, Promise.race([coming, deadline.expired]));
      link.givenUp.throwIfAborted();
      if (line === undefined) continue;
      if (line === null) throw late(members, ready, timeoutMs);
      coming = link.nextRequest();
      const request = parseRequest(line);
      const member = members.find(({ pid }) => pid === request.pid);
      const isStale = request.ask !== undefined && request.ask !== ask && member?.pid !== announced;
      if (member === undefined || isStale) {
        if (request.op === 'ready') link.answer(outcomeOf(controlDirectory, request.pid), TOO_LATE);
        continue;
      }
      if (request.op === 'cancel') throw cancelled(member, request.message, request.resources);
      if (request.op === 'ready') ready.add(member);
    }
  } finally {
    // Nothing more comes to a checkpoint whose members have all answered.
    coming.catch(() => undefined);
    deadline.clear();
    // Who reads it later would answer a checkpoint that is over.
    rmSync(join(controlDirectory, 'ask.json'), { force: true });
  }
}

function signal(pid: number): void {
  try {
    process.kill(pid, 'SIGURG');
  } catch {
    // It has ended since the members were listed; the time limit or the dump will tell.
  }
}

// Its parent may be at a halt itself, so that it stays as a zombie.
function isAlive({ pid }: Member): boolean {
  const state = readProcess(pid)?.state;
  return state !== undefined && state !== 'Z';
}

/** Resolves to undefined when nothing comes in time. */
async function within<T>(limitMs: number, coming: Promise<T>): Promise<T | undefined> {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<undefined>((resolve) => {
    timer = setTimeout(() => resolve(undefined), limitMs);
  });
  try {
    return await Promise.race([coming, expired]);
  } finally {
    clearTimeout(timer);
  }
}

function setTimeoutSignal(timeoutMs: number): { expired: Promise<null>; clear: () => void } {
  let timer: NodeJS.Timeout | undefined;
  const expired = new Promise<null>((resolve) => {
    timer = setTimeout(() => resolve(null), timeoutMs);
  });
  return { expired, clear: () => clearTimeout(timer) };
}

function late(members: readonly Member[], ready: ReadonlySet<Member>, timeoutMs: number): SupervisorError {
  const missing = members.filter((member) => !ready.has(member));
  return new SupervisorError(
    'ERR_FORKPOINT_TIMEOUT',
    `${missing.map(({ pid }) => `process ${pid}`).join(', ')} did not come to a halt within ${timeoutMs} ms`,
    {
      hint: 'a long synchronous loop or a slow hook holds it; raise the limit with `--timeout SECONDS`, or use `--uncoordinated`',
      resources: missing.map(({ pid }) => ({
        pid,
        kind: 'member',
        what: `process ${pid} was asked and did not answer`,
      })),
    },
  );
}

function cancelled(
  member: Member,
  message: string | undefined,
  resources: readonly Resource[] = [],
): SupervisorError {
  return new SupervisorError(
    'ERR_FORKPOINT_HOOK',
    `process ${member.pid} cannot take part: ${message ?? 'no reason given'}`,
    {
      resources,
    },
  );
}
