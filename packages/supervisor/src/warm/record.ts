import { normalize } from 'node:path';
import { WarmError } from './error.ts';
import { changedAt, stampOf, UNREADABLE } from './stamp.ts';
import type { Look } from './stamp.ts';

/** One path that an image depends on. */
export interface Seen {
  readonly look: Look;
  readonly path: string;
  readonly stamp: string;
}

/** What a record is read with. */
export interface RecordScope {
  /** Below it lie the copies of the project, in directories with numbers that hold the project's whole path. */
  readonly work: string;
  /** Directories whose content belongs to the run itself. */
  readonly own: readonly string[];
  /** The directory for temporary files. */
  readonly temporary: string;
  /** When the first process of the warm-up started, in milliseconds since 1970. */
  readonly startedAt: number;
}

const MAX_PATHS = 60_000;
/** Kernel objects: they change all the time and are no input of a tool. */
const KERNEL = /^\/(proc|sys|dev)(\/|$)/;
/** The clock of a file system may lag behind by as much as a tick (CONFIG_HZ=100), in milliseconds. */
const TICK_MS = 20;

/**
 * Returns what the process has looked at outside of the copies of the project, as it is now. Throws ERR_FORKPOINT_WARM_WRITES
 * when it writes elsewhere, ERR_FORKPOINT_WARM_CHANGED when something has changed meanwhile and
 * ERR_FORKPOINT_WARM_UNREADABLE when it could not be looked at.
 */
export function readRecord(bytes: Uint8Array, scope: RecordScope): Seen[] {
  const looks = new Map<string, Set<Look>>();
  const written = new Set<string>();
  for (const entry of new Set(Buffer.from(bytes).toString('utf8').split('\0'))) {
    const kind = entry[0];
    if (kind === undefined) continue;
    const path = realPlace(normalize(entry.slice(1)), scope, kind === 'w');
    if (path === undefined) continue;
    if (kind === 'w') {
      written.add(path);
      continue;
    }
    const look: Look = kind === 'l' ? 'l' : kind === 'd' ? 'd' : 's';
    const known = looks.get(path);
    if (known === undefined) looks.set(path, new Set([look]));
    else known.add(look);
  }
  // A temporary file is of one run; what the run has not made itself it may have been given by way of that directory.
  for (const path of written) {
    if (!isBelow(path, scope.temporary)) continue;
    written.delete(path);
    looks.delete(path);
  }
  const [elsewhere] = written;
  if (elsewhere !== undefined) {
    throw new WarmError(
      'ERR_FORKPOINT_WARM_WRITES',
      `the command writes outside of the project: ${elsewhere}`,
      'what it keeps there may be what it answers from; turn that cache off in WARMUP',
    );
  }
  if (looks.size > MAX_PATHS)
    throw new WarmError('ERR_FORKPOINT_WARM_MANY', `the command looks at more than ${MAX_PATHS} files`);
  return [...looks].flatMap(([path, kinds]) => seenOf(path, kinds, scope.startedAt));
}

/** Returns the path outside of the copies that an entry means, or undefined when it means none. */
function realPlace(path: string, scope: RecordScope, isWritten: boolean): string | undefined {
  if (KERNEL.test(path) || scope.own.some((own) => isBelow(path, own))) return undefined;
  if (isBelow(path, scope.work)) {
    // Packages are links from the copy; to look for one that is not there means the project's own directory.
    const inside = /^\/\d+(\/.*)$/.exec(path.slice(scope.work.length))?.[1];
    if (inside === undefined || !inside.includes('/node_modules')) return undefined;
    // What lies in a package is the project's own, by way of the link.
    if (isWritten) return /\/node_modules\/[^.]/.test(inside) ? inside : undefined;
    return /\/node_modules\/\.(?!bin|pnpm)/.test(inside) ? undefined : inside;
  }
  return path;
}

function isBelow(path: string, directory: string): boolean {
  return path === directory || path.startsWith(`${directory}/`);
}

function seenOf(path: string, kinds: ReadonlySet<Look>, startedAt: number): Seen[] {
  const seen: Seen[] = [];
  for (const look of kinds) {
    if (look === 's' && kinds.has('d')) continue;
    const stamp = stampOf(look, path);
    if (stamp === UNREADABLE)
      throw new WarmError('ERR_FORKPOINT_WARM_UNREADABLE', `${path} cannot be looked at`);
    // Its own stamp is one word less to compare.
    if (look === 'l' && kinds.size > 1 && stamp === stampOf('s', path)) continue;
    if (!stamp.startsWith('d.') && changedAt(look, path) >= startedAt - TICK_MS)
      throw new WarmError('ERR_FORKPOINT_WARM_CHANGED', `${path} has changed in the meantime`, 'try again');
    seen.push({ look, path, stamp });
  }
  return seen;
}
