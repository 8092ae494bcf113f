import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import type { PlanRead } from '@forkpoint/manifest';
import type { ProcessFacts } from './proc.ts';
import { readText } from './proc.ts';

/** Clock ticks a second in /proc (USER_HZ of every Linux on x86-64 and arm64). */
const TICKS = 100;

/**
 * Returns figures that tell a good image from a bad one, as CRaC's image score does: how warm the program was and what it
 * took. Read while the program still runs or blocks; a figure that cannot be read is left out.
 */
export function scoreOf(
  tree: readonly ProcessFacts[],
  root: number,
  controlDirectory: string,
): Record<string, number> {
  const living = tree.filter(({ state }) => state !== 'Z');
  const score: Record<string, number> = { processes: living.length };
  const first = living.find(({ pid }) => pid === root);
  const now = Number(readText('/proc/uptime')?.split(' ')[0]);
  if (first !== undefined)
    score['uptimeMs'] = Math.max(0, Math.round(now * 1000 - (first.startTime * 1000) / TICKS));
  for (const { pid } of living) {
    add(score, 'cpuMs', cpuMs(pid));
    const status = readText(`/proc/${pid}/status`) ?? '';
    add(score, 'residentBytes', Number(/^VmRSS:\s*(\d+) kB$/m.exec(status)?.[1]) * 1024);
    add(score, 'threads', Number(/^Threads:\s*(\d+)$/m.exec(status)?.[1]));
    add(score, 'descriptors', descriptorsOf(pid));
    for (const [name, value] of Object.entries(figuresOf(controlDirectory, pid))) add(score, name, value);
  }
  return score;
}

function add(score: Record<string, number>, name: string, value: number): void {
  if (Number.isFinite(value)) score[name] = (score[name] ?? 0) + value;
}

/** Its own time and that of children it has waited for: fields 14 to 17 of proc(5). */
function cpuMs(pid: number): number {
  const stat = readText(`/proc/${pid}/stat`) ?? '';
  const fields = stat
    .slice(stat.lastIndexOf(')') + 2)
    .split(' ')
    .slice(11, 15);
  return fields.reduce((sum, field) => sum + (Number(field) * 1000) / TICKS, 0);
}

function descriptorsOf(pid: number): number {
  try {
    return readdirSync(`/proc/${pid}/fd`).length;
  } catch {
    // It has just ended.
    return Number.NaN;
  }
}

/** What a member said of its heap when it came to a halt. */
function figuresOf(controlDirectory: string, pid: number): Record<string, number> {
  const entries = saidOf(controlDirectory, pid, 'score', 64);
  return Object.fromEntries(
    entries.filter(
      (entry): entry is [string, number] => /^[A-Za-z]{1,64}$/.test(entry[0]) && Number.isFinite(entry[1]),
    ),
  );
}

/**
 * Returns the variables that the members have read while they started, with digests of their values: a restore that changes
 * one warns.
 */
export function readsOf(members: readonly number[], controlDirectory: string): PlanRead[] {
  const found = new Map<string, string>();
  for (const pid of members) {
    for (const [name, digest] of saidOf(controlDirectory, pid, 'reads', 256)) {
      if (/^[^=\0]{1,128}$/.test(name) && typeof digest === 'string' && /^(-|[0-9a-f]{8})$/.test(digest))
        found.set(name, digest);
    }
  }
  return [...found].map(([name, digest]) => ({ name, digest }));
}

/** Entries of an object in a member's info.json. */
function saidOf(controlDirectory: string, pid: number, key: string, max: number): [string, unknown][] {
  try {
    const path = join(controlDirectory, 'members', String(pid), 'info.json');
    const info: unknown = JSON.parse(readText(path) ?? 'null');
    const said: unknown = typeof info === 'object' && info !== null ? Reflect.get(info, key) : null;
    return typeof said === 'object' && said !== null ? Object.entries(said).slice(0, max) : [];
  } catch {
    // Not a member of ours, or one that wrote nonsense: what it says is missing, and nothing else.
    return [];
  }
}
