import { lstatSync, statSync } from 'node:fs';
import type { BigIntStats } from 'node:fs';

/** How a path was looked at: itself, the link that it is, or as a directory whose names were read. */
export type Look = 's' | 'l' | 'd';

/** What stands for a path that cannot be looked at; nothing is equal to it. */
export const UNREADABLE = '?';

/**
 * Returns what a path is, in one word, as the launcher writes it (warm.c, `stamp`): `-` for nothing; device and inode of a
 * directory that was only looked at; else mode, device, inode, size and both times. The time of the last change of the inode
 * is among them because, unlike the others, a program cannot set it.
 */
export function stampOf(look: Look, path: string): string {
  let stat: BigIntStats;
  try {
    stat = look === 'l' ? lstatSync(path, { bigint: true }) : statSync(path, { bigint: true });
  } catch (error) {
    const code: unknown = error instanceof Error ? Reflect.get(error, 'code') : undefined;
    return code === 'ENOENT' || code === 'ENOTDIR' ? '-' : UNREADABLE;
  }
  const { dev, ino } = stat;
  if (stat.isDirectory() && look !== 'd') return `d.${hex(dev)}.${hex(ino)}`;
  const size = stat.isDirectory() ? 0n : stat.size;
  return [stat.mode, dev, ino, size, ...parts(stat.mtimeNs), ...parts(stat.ctimeNs)].map(hex).join('.');
}

/** Returns when a path last changed, in milliseconds since 1970; 0 when it is not there. */
export function changedAt(look: Look, path: string): number {
  try {
    return look === 'l' ? lstatSync(path).ctimeMs : statSync(path).ctimeMs;
  } catch {
    // Absent, or unreadable: the stamp says so.
    return 0;
  }
}

function parts(ns: bigint): [bigint, bigint] {
  return [ns / 1_000_000_000n, ns % 1_000_000_000n];
}

function hex(value: bigint): string {
  return value.toString(16);
}
