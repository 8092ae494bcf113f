import { access, constants } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import { nativeDirectory } from '@forkpoint/engine';
import { placesAt, places as placesOf, resolveImage } from '@forkpoint/store';
import type { Places } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import type { HostOptions } from './types.ts';

/** Returns where a call looks. */
export function placesFor({ home, cwd = process.cwd() }: HostOptions): Places {
  return home === undefined ? placesOf(process.env, cwd) : placesAt(resolve(cwd, home));
}

/** Returns the path that a name or a path means. Throws ERR_FORKPOINT_NAME. */
export function pathOf(image: string, options: HostOptions): string {
  return resolveImage(image, options.cwd ?? process.cwd(), placesFor(options).images);
}

/** Returns the codec's addon of a data directory; where it was not built the codec of Node.js takes its place. */
export function codecOf({ home }: Places): string {
  return join(nativeDirectory(home), 'codec.node');
}

/** Returns the launcher, which exchanges directories. Throws ERR_FORKPOINT_SETUP when it was not built. */
export async function launcherOf({ home }: Places): Promise<string> {
  const launcher = join(nativeDirectory(home), 'launcher');
  try {
    await access(launcher, constants.X_OK);
  } catch (cause) {
    throw new SupervisorError(
      'ERR_FORKPOINT_SETUP',
      `the data directory ${home} has not been set up for forkpoint`,
      {
        hint: 'Run `forkpoint setup`',
        cause,
      },
    );
  }
  return launcher;
}

/** The file that remembers digests of mapped files. */
export function memoryOf({ cache }: Places): string {
  return join(cache, 'digests.json');
}
