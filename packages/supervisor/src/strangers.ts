import { basename } from 'node:path';
import { findMembers } from './members.ts';
import { readLink, readProcesses, readText } from './proc.ts';
import type { Surroundings } from './surroundings.ts';

/** A runtime that has a client, by the name of its program, and what to do about one without. */
const CLIENTS: readonly (readonly [RegExp, string, string])[] = [
  [
    /^(node|nodejs)(-?\d[\d.]*)?$/,
    'has not loaded forkpoint',
    'start it with the NODE_OPTIONS that its parent has',
  ],
  [/^(python|pypy)(\d[\d.]*)?$/, 'has not imported forkpoint', '`import forkpoint` early in it'],
  [/^ruby(\d[\d.]*)?$/, 'has not required forkpoint', "`require 'forkpoint'` early in it"],
  [
    /^java$/,
    'runs without the Java client',
    'start it by `forkpoint run -- java`, without --no-preload, or give it the -javaagent that its parent has',
  ],
];

/**
 * Returns a sentence for each process of the program whose runtime has a client that it has not loaded, such as a Node.js that was
 * started by `env -i`. It is in the image, but nobody renews what it knows.
 */
export function strangersOf({ controlDirectory }: Pick<Surroundings, 'controlDirectory'>): string[] {
  const alive = readProcesses().filter(({ pid, state }) => pid !== process.pid && state !== 'Z');
  const members = new Set(
    findMembers(controlDirectory, new Set(alive.map(({ pid }) => pid))).map(({ pid }) => pid),
  );
  return alive.flatMap(({ pid }) => {
    if (members.has(pid)) return [];
    const client = clientOf(readLink(`/proc/${pid}/exe`));
    if (client === undefined) return [];
    const words = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter(Boolean).join(' ');
    const consequence = 'its hooks do not run, and its random numbers are equal in all clones';
    return [`process ${pid} (${words.slice(0, 80)}) ${client.lack}: ${consequence}; ${client.remedy}`];
  });
}

/** Returns what a program lacks that has no client although there is one for it. Exported for tests. */
export function clientOf(exe: string | null): { lack: string; remedy: string } | undefined {
  const found = CLIENTS.find(([name]) => exe !== null && name.test(basename(exe)));
  return found === undefined ? undefined : { lack: found[1], remedy: found[2] };
}
