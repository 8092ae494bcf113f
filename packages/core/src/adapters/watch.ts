import type { FSWatcher } from 'node:fs';
import type { Adapter } from './types.ts';

/** Beyond this many paths the rest has to be found by searching. */
const PATHS_MAX = 2_000;

/**
 * fs.watch, and what builds on it, as chokidar. Watchers need nothing at a checkpoint: no change is lost, in the original or in a clone. But an image
 * holds a watcher by its path, and the kernel knows only inodes; so the checkpoint worker is told what is watched, in `members/<pid>/watched.json`.
 */
export function watchAdapter(directory: string): Adapter {
  const fs = process.getBuiltinModule('node:fs');
  const { watch, mkdirSync, writeFileSync, renameSync, realpathSync } = fs;
  const watched = new Map<WeakRef<FSWatcher>, string>();
  const member = `${directory}/members/${process.pid}`;
  let isDue = false;

  const write = (): void => {
    isDue = false;
    const paths = new Set<string>();
    for (const [ref, path] of watched) {
      if (ref.deref() === undefined) watched.delete(ref);
      else if (paths.size < PATHS_MAX) paths.add(path);
    }
    try {
      mkdirSync(member, { recursive: true, mode: 0o700 });
      writeFileSync(`${member}/watched.json.new`, JSON.stringify([...paths]), { mode: 0o600 });
      renameSync(`${member}/watched.json.new`, `${member}/watched.json`);
    } catch {
      // The run is about to end. What is watched is searched for then, as that of other programs.
    }
  };
  const note = (watcher: FSWatcher, path: unknown): void => {
    try {
      const ref = new WeakRef(watcher);
      watched.set(ref, realpathSync(pathOf(path)));
      watcher.once('close', () => watched.delete(ref));
    } catch {
      // It was removed at once: there is nothing to be found.
      return;
    }
    if (isDue) return;
    isDue = true;
    // Once for all that are opened in one go.
    setImmediate(write);
  };
  return {
    name: 'watch',
    tracker: {
      name: 'watch',
      isIdle: () => true,
      hold: (): void => undefined,
      release: (): void => undefined,
      busy: () => [],
      close: () => (isDue ? write() : undefined),
      wake: (isClone) => {
        // The control directory of a clone is another one.
        if (isClone && watched.size > 0) write();
      },
    },
    start: () => {
      fs.watch = Object.assign((...args: Parameters<typeof watch>) => {
        const watcher: FSWatcher = Reflect.apply(watch, fs, args);
        note(watcher, args[0]);
        return watcher;
      }, watch);
      process.getBuiltinModule('node:module').syncBuiltinESMExports();
    },
  };
}

function pathOf(path: unknown): string {
  if (path instanceof URL) return process.getBuiltinModule('node:url').fileURLToPath(path);
  return Buffer.isBuffer(path) ? path.toString() : String(path);
}
