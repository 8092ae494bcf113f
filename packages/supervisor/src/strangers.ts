import { basename } from 'node:path';
import { findMembers } from './members.ts';
import { readLink, readProcesses, readText } from './proc.ts';
import type { Surroundings } from './surroundings.ts';

/**
 * Returns a sentence for each Node.js process of the program that has not loaded forkpoint: one that was started without
 * the environment that it was given to hand on, as by `env -i`. It is in the image, but nobody renews what it knows.
 */
export function strangersOf({ controlDirectory }: Pick<Surroundings, 'controlDirectory'>): string[] {
  const alive = readProcesses().filter(({ pid, state }) => pid !== process.pid && state !== 'Z');
  const members = new Set(
    findMembers(controlDirectory, new Set(alive.map(({ pid }) => pid))).map(({ pid }) => pid),
  );
  return alive
    .filter(({ pid }) => !members.has(pid) && isNode(readLink(`/proc/${pid}/exe`)))
    .map(({ pid }) => {
      const words = (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').filter(Boolean).join(' ');
      return (
        `process ${pid} (${words.slice(0, 80)}) has not loaded forkpoint: its hooks do not run, and its random numbers are ` +
        'equal in all clones; start it with the NODE_OPTIONS that its parent has'
      );
    });
}

/** Exported for tests. */
export function isNode(exe: string | null): boolean {
  return exe !== null && /^(node|nodejs)(-?\d[\d.]*)?$/.test(basename(exe));
}
