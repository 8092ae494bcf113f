import { existsSync, lstatSync, readdirSync, realpathSync } from 'node:fs';
import type { Stats } from 'node:fs';
import { dirname, isAbsolute, join, resolve } from 'node:path';
import { readDescriptors, readLink, readText } from './proc.ts';

/** How much of the file system is searched: entries looked at, and milliseconds. The program runs on meanwhile. */
const ENTRIES_MAX = 50_000;
const LIMIT_MS = 1500;
const ARGUMENTS_MAX = 16;
const TOLD_MAX = 2_000;

/**
 * Returns where the files lie that some processes watch with inotify, files before directories, for CRIU's
 * `--irmap-scan-path`. The kernel tells only device and inode (proc_pid_fdinfo(5)), and without rights on the whole
 * machine CRIU cannot open them by handle; it searches the given paths, directories to the bottom and while the program
 * is stopped (criu/irmap.c, irmap_scan). So they are searched for here, before: in the working directories, in the packages
 * that the program's scripts belong to, and above both; what Node.js processes watch they have told, wherever it lies. Working directories are always in the answer; nothing is when
 * nothing is watched.
 */
export function watchedPaths(tree: readonly { readonly pid: number }[], controlDirectory: string): string[] {
  const pids = tree.map(({ pid }) => pid);
  const wanted = new Set(pids.flatMap(watchedInodes));
  if (wanted.size === 0) return [];
  const directories = present(pids.map((pid) => readLink(`/proc/${pid}/cwd`)));
  const roots = [...new Set([...directories, ...pids.flatMap(packagesOf)])];
  const found: { path: string; isDirectory: boolean }[] = [];
  const see = (path: string): Stats | null => {
    const stats = lstatSync(path, { throwIfNoEntry: false, bigint: false }) ?? null;
    if (stats !== null && wanted.delete(keyOf(kernelDevice(stats.dev), stats.ino)))
      found.push({ path, isDirectory: stats.isDirectory() });
    return stats;
  };
  for (const path of pids.flatMap((pid) => toldBy(controlDirectory, pid))) see(path);
  for (const root of roots) for (const path of above(root)) see(path);
  walk(roots, see, () => wanted.size === 0);
  const pathsOf = (isDirectory: boolean): string[] =>
    found.filter((one) => one.isDirectory === isDirectory).map(({ path }) => path);
  // The deepest directories first: CRIU goes through all of one before it looks at the next.
  const deepest = pathsOf(true).sort((a, b) => b.split('/').length - a.split('/').length);
  return [...new Set([...pathsOf(false), ...deepest, ...directories])];
}

/** What a member has told that it watches (core/src/adapters/watch.ts); the answer is only where to look first. */
function toldBy(controlDirectory: string, pid: number): string[] {
  try {
    const text = readText(join(controlDirectory, 'members', String(pid), 'watched.json'));
    const value: unknown = JSON.parse(text ?? '[]');
    const paths = Array.isArray(value) ? value.slice(0, TOLD_MAX) : [];
    return paths.filter((path) => typeof path === 'string' && isAbsolute(path));
  } catch {
    // Cut short by the end of the process.
    return [];
  }
}

/** Looks at everything below some directories, level by level, within the limits. */
function walk(roots: readonly string[], see: (path: string) => Stats | null, isDone: () => boolean): void {
  const deadline = performance.now() + LIMIT_MS;
  const queue = [...roots];
  const seen = new Set(queue);
  let entries = 0;
  for (let directory = queue.shift(); directory !== undefined; directory = queue.shift()) {
    if (isDone() || performance.now() > deadline) return;
    for (const name of namesIn(directory)) {
      if (++entries > ENTRIES_MAX) return;
      const path = resolve(directory, name);
      if (see(path)?.isDirectory() !== true || seen.has(path)) continue;
      seen.add(path);
      queue.push(path);
    }
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // What may not be read, or has gone, cannot be searched.
    return [];
  }
}

/** The inotify lines of a process's descriptors, as keys. */
function watchedInodes(pid: number): string[] {
  return readDescriptors(pid)
    .filter(
      ({ target }) => target.startsWith('anon_inode:inotify') || target.startsWith('anon_inode:[inotify'),
    )
    .flatMap(({ fd }) => [
      ...(readText(`/proc/${pid}/fdinfo/${fd}`) ?? '').matchAll(
        /^inotify wd:\S+ ino:([0-9a-f]+) sdev:([0-9a-f]+)/gm,
      ),
    ])
    .map(([, inode = '', device = '']) => keyOf(Number.parseInt(device, 16), Number.parseInt(inode, 16)));
}

/** The directories of the packages whose files stand on a process's command line. */
function packagesOf(pid: number): string[] {
  const cwd = readLink(`/proc/${pid}/cwd`) ?? '/';
  const [, ...words] = (readText(`/proc/${pid}/cmdline`) ?? '')
    .split('\0', ARGUMENTS_MAX)
    .filter((word) => word !== '');
  return present(words.map((word) => packageOf(resolve(cwd, word))));
}

function packageOf(path: string): string | null {
  let file: string;
  try {
    file = realpathSync(path);
  } catch {
    // An argument that is no path.
    return null;
  }
  const root = above(file).find((directory) => existsSync(resolve(directory, 'package.json')));
  return root === undefined || root === '/' ? null : root;
}

/** A path and all directories above it, without `/`. */
function above(path: string): string[] {
  const paths: string[] = [];
  for (let at = path; at !== '/' && at !== '.'; at = dirname(at)) paths.push(at);
  return paths;
}

function present(values: readonly (string | null)[]): string[] {
  return [...new Set(values.filter((value) => value !== null))];
}

function keyOf(device: number, inode: number): string {
  return `${device}:${inode}`;
}

/** Turns stat(2)'s device number into the kernel's own, which /proc shows (linux/kdev_t.h, new_decode_dev). */
function kernelDevice(device: number): number {
  const major = (device >>> 8) & 0xfff;
  const minor = (device & 0xff) | ((device >>> 12) & 0xfff00);
  return major * 2 ** 20 + minor;
}
