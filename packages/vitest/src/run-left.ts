import { existsSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';

/** How often the removal of a directory is tried, and how long after the last time, in milliseconds. */
const TRIES = 20;
const AGAIN_MS = 20;

/**
 * Removes what is left of the run of a mold, which nobody looks for. Synchronous, since the process may be about to end. Never throws:
 * what cannot be removed goes with the next `forkpoint gc`.
 */
export function removeRunCalled(runs: string, name: string): void {
  for (const id of namesIn(runs)) {
    const directory = join(runs, id);
    // The plan is there before the launcher has noted anything.
    if (['run.json', 'run.plan'].some((file) => textOf(join(directory, file)).includes(name)))
      remove(directory);
  }
}

/**
 * The launcher outlives the command while an image is being checked, and removes its own part of the directory when it leaves. What is
 * gone before rmSync comes to it ends rmSync with an error or, with `force` on Node.js 24, without one and with the rest still there.
 */
function remove(directory: string): void {
  for (let left = TRIES; left > 0; left--) {
    try {
      rmSync(directory, { recursive: true, force: true });
    } catch {
      // Tried again, unless it is gone by now.
    }
    if (!existsSync(directory)) return;
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, AGAIN_MS);
  }
}

function namesIn(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

function textOf(path: string): string {
  try {
    return readFileSync(path, 'latin1');
  } catch {
    return '';
  }
}
