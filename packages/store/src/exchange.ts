import { execFile } from 'node:child_process';
import type { Stats } from 'node:fs';
import { stat } from 'node:fs/promises';
import { setTimeout as delay } from 'node:timers/promises';
import { promisify } from 'node:util';
import { StoreError } from './error.ts';
import type { Exchange } from './publish.ts';

const LIMIT_MS = 10_000;

/** Returns an exchange that the launcher carries out: Node has no renameat2(2). Throws ERR_FORKPOINT_PUBLISH. */
export function launcherExchange(launcher: string): Exchange {
  return async (a, b) => {
    try {
      await promisify(execFile)(launcher, ['exchange', a, b], { timeout: LIMIT_MS, maxBuffer: 65_536 });
    } catch (cause) {
      const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : '';
      throw new StoreError(
        'ERR_FORKPOINT_PUBLISH',
        said.replace(/^Error: /, '') || `${launcher} cannot be started`,
        {
          hint: 'Give a destination that does not exist yet: this file system cannot exchange directories',
          cause,
        },
      );
    }
  };
}

/**
 * Returns an exchange for the image that had this `identity`, which is undone when it took away another one. For `graceMs`
 * the old image then stays for restores that have begun to read it. Throws ERR_FORKPOINT_IMAGE_CHANGED.
 */
export function guardedExchange(
  image: string,
  identity: Stats,
  {
    exchange,
    graceMs = 0,
    signal,
  }: { readonly exchange: Exchange; readonly graceMs?: number; readonly signal?: AbortSignal },
): Exchange {
  const isSame = async (path: string): Promise<boolean> => {
    const now = await stat(path);
    return now.dev === identity.dev && now.ino === identity.ino;
  };
  const changed = (): StoreError =>
    new StoreError('ERR_FORKPOINT_IMAGE_CHANGED', `${image} was replaced meanwhile, and stays as it is`, {
      hint: 'Do it again with the image that lies there now',
    });
  return async (temporary, path) => {
    if (!(await isSame(path))) throw changed();
    await exchange(temporary, path);
    if (await isSame(temporary)) {
      // Whoever is in a hurry gets what is there already.
      await delay(graceMs, undefined, signal === undefined ? {} : { signal }).catch(() => undefined);
      return;
    }
    await exchange(temporary, path);
    throw changed();
  };
}
