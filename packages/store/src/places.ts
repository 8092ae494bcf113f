import { chmod, lstat, stat } from 'node:fs/promises';
import { homedir } from 'node:os';
import { join, resolve } from 'node:path';
import { makeMissing } from './directories.ts';
import { reasonOf, StoreError } from './error.ts';

/** Where everything lies; all paths are absolute. */
export interface Places {
  readonly home: string;
  readonly engine: string;
  readonly enginePlan: string;
  readonly images: string;
  readonly runs: string;
  readonly cache: string;
  /** Mount point of every control directory. */
  readonly pod: string;
}

/**
 * Returns the places for an environment: `$FORKPOINT_HOME`, else `$XDG_DATA_HOME/forkpoint`, else `~/.local/share/forkpoint`.
 * A relative XDG_DATA_HOME is ignored, as the XDG base directory specification demands.
 */
export function places(
  env: Readonly<Record<string, string | undefined>>,
  cwd: string = process.cwd(),
): Places {
  return placesAt(homeOf(env, cwd));
}

/** Returns the places below a data directory, an absolute path. */
export function placesAt(home: string): Places {
  const engine = join(home, 'engine');
  return {
    home,
    engine,
    enginePlan: join(engine, 'engine.plan'),
    images: join(home, 'images'),
    runs: join(home, 'runs'),
    cache: join(home, 'cache'),
    pod: join(home, 'pod'),
  };
}

/**
 * Makes the data directory and what belongs in it, all of mode 0700.
 * Throws ERR_FORKPOINT_HOME when it cannot be made or belongs to another user.
 */
export async function ensureHome(at: Places): Promise<void> {
  try {
    await makeMissing(at.home, [], 0o700);
    const { uid } = await stat(at.home);
    if (uid !== process.getuid?.()) {
      throw new StoreError(
        'ERR_FORKPOINT_HOME',
        `the data directory ${at.home} belongs to the user with id ${uid}`,
        {
          hint: 'Set FORKPOINT_HOME to a directory of your own',
        },
      );
    }
    for (const directory of [at.engine, at.images, at.runs, at.cache, at.pod]) {
      await makeMissing(directory, [], 0o700);
      // The home itself keeps its mode: FORKPOINT_HOME may name a directory that others use as well.
      // An engine that an administrator has lent by a link keeps its mode too.
      const facts = await lstat(directory);
      if (facts.isDirectory() && facts.uid === uid) await chmod(directory, 0o700);
    }
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    throw new StoreError(
      'ERR_FORKPOINT_HOME',
      `the data directory ${at.home} cannot be made: ${reasonOf(cause)}`,
      {
        hint: 'Set FORKPOINT_HOME to a directory that you may write to',
        cause,
      },
    );
  }
}

function homeOf(env: Readonly<Record<string, string | undefined>>, cwd: string): string {
  const own = env['FORKPOINT_HOME'];
  if (own !== undefined && own !== '') return resolve(cwd, own);
  const xdg = env['XDG_DATA_HOME'];
  if (xdg?.startsWith('/') === true) return join(xdg, 'forkpoint');
  const user = env['HOME'];
  return join(user?.startsWith('/') === true ? user : homedir(), '.local/share/forkpoint');
}
