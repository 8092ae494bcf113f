import { execFile } from 'node:child_process';
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
