import * as fs from 'node:fs';
import type { Adapter, Busy } from './types.ts';

/** Bytes of a database that SQLite locks: pending, reserved and 510 shared ones (os.h, PENDING_BYTE). */
const [LOCK_FIRST, LOCK_LAST] = [0x4000_0000, 0x4000_0000 + 511];
/** Bytes of a -shm file that are locked by who writes, recovers or reads; the one behind them by everybody (wal.c, WALINDEX_LOCK_OFFSET). */
const [WAL_FIRST, WAL_LAST] = [120, 127];
/** How proc_pid_fdinfo(5) shows a lock of the descriptor's own process. */
const LOCK = /^lock:\s*\d+: (?:POSIX|OFDLCK)\s+\S+\s+(READ|WRITE)\s+-?\d+\s+\S+\s+(\d+)\s+(\d+|EOF)/gm;
const DESCRIPTORS_MAX = 4096;

interface Descriptor {
  readonly path: string;
  readonly locks: readonly { readonly isWrite: boolean; readonly first: number; readonly last: number }[];
}

/**
 * SQLite, by whatever library: better-sqlite3, node:sqlite, libsql. Databases stay open and need nothing after a restore; but a transaction cannot be in two
 * processes. Whether one is open the file locks tell, which are the same for all libraries.
 */
export function sqliteAdapter(): Adapter {
  let isSeen = false;
  const isIdle = (): boolean => {
    isSeen ||= isLoaded();
    return !isSeen;
  };
  return {
    name: 'sqlite',
    tracker: {
      name: 'sqlite',
      isIdle,
      hold: (): void => undefined,
      release: (): void => undefined,
      busy: () => (isIdle() ? [] : transactions(descriptors())),
      close: (): void => undefined,
      wake: (): void => undefined,
    },
  };
}

/** Returns whether something is loaded that may have opened a database. */
function isLoaded(): boolean {
  const builtins: unknown = Reflect.get(process, 'moduleLoadList');
  if (Array.isArray(builtins) && builtins.includes('NativeModule sqlite')) return true;
  const cache: unknown = Reflect.get(process.getBuiltinModule('node:module'), '_cache');
  const files = typeof cache === 'object' && cache !== null ? Object.keys(cache) : [];
  return files.some((file) => file.endsWith('.node') && /sql/.test(file));
}

function descriptors(): Descriptor[] {
  const names = fs.readdirSync('/proc/self/fdinfo').slice(0, DESCRIPTORS_MAX);
  return names.flatMap((name) => {
    try {
      const path = fs.readlinkSync(`/proc/self/fd/${name}`);
      if (!path.startsWith('/')) return [];
      const text = fs.readFileSync(`/proc/self/fdinfo/${name}`, 'latin1');
      const locks = [...text.matchAll(LOCK)].map(([, kind, first = '', last = '']) => ({
        isWrite: kind === 'WRITE',
        first: Number(first),
        last: last === 'EOF' ? Infinity : Number(last),
      }));
      return [{ path, locks }];
    } catch {
      // The descriptor of the directory that is being read, or one that was closed meanwhile.
      return [];
    }
  });
}

/** Exported for tests. */
export function transactions(all: readonly Descriptor[]): Busy[] {
  // With a write-ahead log everybody who has the database open holds a lock of its file; transactions lock the log's index.
  const logged = new Set(all.map(({ path }) => path).filter((path) => path.endsWith('-shm')));
  const found = new Map<string, boolean>();
  for (const { path, locks } of all) {
    const isIndex = logged.has(path);
    if (logged.has(`${path}-shm`)) continue;
    const [first, last] = isIndex ? [WAL_FIRST, WAL_LAST] : [LOCK_FIRST, LOCK_LAST];
    const own = locks.filter((lock) => lock.first <= last && lock.last >= first);
    const name = isIndex ? path.slice(0, -'-shm'.length) : path;
    if (own.length > 0) found.set(name, found.get(name) === true || own.some(({ isWrite }) => isWrite));
  }
  return [...found].map(([path, isWrite]) => ({
    what: `the database ${path}`,
    work: `a transaction that ${isWrite ? 'writes' : 'reads'}`,
  }));
}
