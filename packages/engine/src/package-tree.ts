import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { fetchPackages } from './apt.ts';
import type { FetchContext, FetchMode } from './apt.ts';
import { EngineError, errorCode, errorText } from './error.ts';
import { findMirrors } from './mirror.ts';

/** Packages that are fetched together and the check that decides whether the result is used. */
export interface TreeRequest<T> {
  /** First part of the directory's name below `engine/`. */
  readonly name: string;
  readonly packages: readonly string[];
  readonly mode: FetchMode;
  /** Debian suites in the order of preference; `host` stands for the suite of this machine's own Debian. */
  readonly suites: readonly string[];
  /** Looks at the unpacked tree; what it throws is the reason to try the next suite. */
  readonly check: (root: string) => Promise<{ version: string; value: T }>;
}

const TEMPORARY = '.fetching-';
const LOADER = 'ld-linux-x86-64.so.2';
/** Packages of a merged /usr put libraries below usr/lib, those of Debian 12 and older partly below lib. */
const LIBRARY_DIRECTORIES = ['usr/lib/x86_64-linux-gnu', 'lib/x86_64-linux-gnu'];
const LOADER_DIRECTORIES = [...LIBRARY_DIRECTORIES, 'usr/lib64', 'lib64'];

/**
 * Fetches packages into a new directory below `engineDir` and returns its root. Every mirror and suite is tried in turn.
 * The work is done in a temporary directory beside, whose packages are deleted and which gets its name only when the check
 * has passed: a half download never has it. Throws ERR_FORKPOINT_FETCH with the reason of every suite.
 */
export async function fetchTree<T>(
  engineDir: string,
  request: TreeRequest<T>,
  context: FetchContext,
): Promise<{ directory: string; version: string }> {
  const { mirrors, codename } = await findMirrors(context.env, context.signal);
  const suites = request.suites.map((suite) => (suite === 'host' ? codename : suite));
  const reasons: string[] = [];
  for (const mirror of mirrors) {
    for (const suite of [...new Set(suites)].filter((name) => name !== '')) {
      const area = join(engineDir, `${TEMPORARY}${process.pid}-${randomBytes(4).toString('hex')}`);
      mkdirSync(area, { mode: 0o700 });
      try {
        const { root } = await fetchPackages(
          area,
          { mirror, suite },
          request.packages,
          request.mode,
          context,
        );
        const { version } = await request.check(root);
        return { directory: publish(engineDir, `${request.name}-${version}`, root), version };
      } catch (error) {
        if (!(error instanceof EngineError) || error.code === 'ERR_FORKPOINT_ABORTED') throw error;
        if (error.code === 'ERR_FORKPOINT_NO_APT') throw error;
        context.log(errorText(error));
        reasons.push(errorText(error));
      } finally {
        rmSync(area, { recursive: true, force: true });
      }
    }
  }
  throw new EngineError(
    'ERR_FORKPOINT_FETCH',
    `${request.name} cannot be fetched from ${mirrors.join(', ')}: ${reasons.join('; ')}`,
    {
      hint: 'check the network and the proxy that apt uses (`apt-get update` as root shows it), or set FORKPOINT_DEBIAN_MIRROR; then run `forkpoint setup`',
    },
  );
}

/** Removes what set-ups left behind that were killed; call it only while holding the set-up's lock. */
export function removeLeftovers(engineDir: string): void {
  for (const name of readdirSync(engineDir)) {
    if (name.startsWith(TEMPORARY)) rmSync(join(engineDir, name), { recursive: true, force: true });
  }
}

/**
 * Returns the argument vector that runs a program of an unpacked tree with the tree's own loader and libraries, whatever
 * libc the machine has. Throws ERR_FORKPOINT_ENGINE_BROKEN when the tree is not complete.
 */
export function treeCommand(root: string, program: string): string[] {
  const loader = LOADER_DIRECTORIES.map((path) => join(root, path, LOADER)).find((path) => existsSync(path));
  const executable = join(root, program);
  if (loader === undefined || !existsSync(executable)) {
    throw new EngineError('ERR_FORKPOINT_ENGINE_BROKEN', `${executable} or its loader is missing`);
  }
  const libraries = LIBRARY_DIRECTORIES.map((path) => join(root, path)).filter((path) => existsSync(path));
  return [loader, '--inhibit-cache', '--library-path', libraries.join(':'), executable];
}

/** Throws ERR_FORKPOINT_PLACE when the loader or apt could not cope with a path. */
export function checkPlace(path: string): void {
  // The loader's list of directories is separated by colons and semicolons and has no way to quote them.
  if (!/[:;\n"\\$]/.test(path) && path.startsWith('/')) return;
  throw new EngineError(
    'ERR_FORKPOINT_PLACE',
    `the data directory ${path} has a character that the loader cannot take`,
    {
      hint: 'set FORKPOINT_HOME to an absolute path without any of : ; " \\ $ and newline',
    },
  );
}

/** Gives a finished tree its place; an older tree of the same name makes way and is deleted. */
function publish(engineDir: string, name: string, root: string): string {
  const place = join(engineDir, name.replace(/[^A-Za-z0-9._+~-]/g, '_'));
  const aside = join(engineDir, `${TEMPORARY}${process.pid}-${randomBytes(4).toString('hex')}`);
  try {
    renameSync(place, aside);
  } catch (error) {
    if (errorCode(error) !== 'ENOENT') throw error;
  }
  renameSync(root, place);
  rmSync(aside, { recursive: true, force: true });
  return place;
}
