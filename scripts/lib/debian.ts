// Debian packages for tests, fetched and unpacked without root.
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  unlinkSync,
} from 'node:fs';
import { dirname, join, relative } from 'node:path';
import { fetchPackages } from '../../packages/engine/src/apt.ts';
import { findMirrors } from '../../packages/engine/src/mirror.ts';

/** Where Debian puts the libraries of this architecture. */
export const LIBRARIES = 'usr/lib/x86_64-linux-gnu';

/**
 * Fetches packages with all that they need into a new tree `target`; `base` is where it is made. Libraries that the system has are
 * taken from there, because a libc of the packages and the loader of the system do not go together.
 */
export async function fetchDebianTree(
  base: string,
  target: string,
  packages: readonly string[],
): Promise<void> {
  const context = { env: process.env, log: (line: string) => console.error(`  ${line}`), signal: undefined };
  const { mirrors, codename } = await findMirrors(process.env);
  const area = mkdtempSync(join(base, 'fetch-'));
  try {
    const archive = { mirror: mirrors[0] ?? '', suite: codename === '' ? 'bookworm' : codename };
    const fetched = await fetchPackages(area, archive, packages, 'closure', context);
    dropSystemLibraries(fetched.root);
    makeLinksRelative(fetched.root, fetched.root);
    rmSync(target, { recursive: true, force: true });
    renameSync(fetched.root, target);
  } finally {
    rmSync(area, { recursive: true, force: true });
  }
}

function dropSystemLibraries(tree: string): void {
  for (const directory of [LIBRARIES, 'lib/x86_64-linux-gnu']) {
    const path = join(tree, directory);
    if (!existsSync(path)) continue;
    for (const name of readdirSync(path)) {
      if (/\.so(\.|$)/.test(name) && existsSync(join('/', directory, name))) unlinkSync(join(path, name));
    }
  }
}

/** Debian's links into /etc and /usr lead into the tree. */
function makeLinksRelative(directory: string, tree: string): void {
  for (const entry of readdirSync(directory, { withFileTypes: true })) {
    const path = join(directory, entry.name);
    if (entry.isDirectory()) makeLinksRelative(path, tree);
    if (!entry.isSymbolicLink()) continue;
    const target = readlinkSync(path);
    if (!target.startsWith('/')) continue;
    unlinkSync(path);
    symlinkSync(relative(dirname(path), join(tree, target)), path);
  }
}
