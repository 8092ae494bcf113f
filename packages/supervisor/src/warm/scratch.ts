import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  realpathSync,
  statSync,
  symlinkSync,
} from 'node:fs';
import type { Dirent } from 'node:fs';
import { dirname, join } from 'node:path';

/** What is copied at most: for warming up a part of a large project is enough. */
const MAX_FILES = 1_500;
const MAX_BYTES = 64 << 20;
const MAX_FILE_BYTES = 2 << 20;
/** Settings that tools look for above the project. */
const SETTINGS =
  /^(package\.json|[jt]sconfig.*\.json|\.(eslint|prettier|editorconfig|babel|browserslist|npmrc).*|(eslint|prettier|babel|vite|postcss)\.config\..*)$/;

/**
 * Copies a project to a directory where it has its whole path below `into`, and returns the copy's path. Packages are links to
 * the project's own; version control and what is beyond the limits (1,500 files, 64 MiB) are left out, the deepest first.
 */
export function copyProject(project: string, into: string): string {
  const copy = into + project;
  mkdirSync(copy, { recursive: true, mode: 0o700 });
  copySurroundings(project, into);
  let files = 0;
  let bytes = 0;
  for (let level = ['']; level.length > 0;) {
    const next: string[] = [];
    for (const relative of level) {
      for (const entry of entriesOf(join(project, relative))) {
        const path = join(relative, entry.name);
        const from = join(project, path);
        const to = join(copy, path);
        if (entry.name === 'node_modules') linkPackages(from, to);
        else if (entry.name === '.git') continue;
        else if (entry.isDirectory()) {
          mkdirSync(to, { recursive: true });
          next.push(path);
        } else if (entry.isSymbolicLink()) {
          symlinkSync(readlinkSync(from), to);
        } else if (entry.isFile()) {
          const { size } = statSync(from);
          if (size > MAX_FILE_BYTES || files >= MAX_FILES || bytes + size > MAX_BYTES) continue;
          copyFileSync(from, to);
          files++;
          bytes += size;
        }
      }
    }
    level = files >= MAX_FILES || bytes >= MAX_BYTES ? [] : next;
  }
  return copy;
}

/** Packages of directories above the project are found there, and settings up to the root of its repository. */
function copySurroundings(project: string, into: string): void {
  let isInRepository = !existsSync(join(project, '.git')) && hasRepository(project);
  for (let above = dirname(project); ; above = dirname(above)) {
    const packages = join(above, 'node_modules');
    if (existsSync(packages)) linkPackages(packages, into + packages);
    if (isInRepository) {
      for (const entry of entriesOf(above))
        if (entry.isFile() && SETTINGS.test(entry.name))
          copyFileSync(join(above, entry.name), join(into + above, entry.name));
    }
    if (existsSync(join(above, '.git'))) isInRepository = false;
    if (above === dirname(above)) return;
  }
}

function hasRepository(from: string): boolean {
  for (let directory = from; ; directory = dirname(directory)) {
    if (existsSync(join(directory, '.git'))) return true;
    if (directory === dirname(directory)) return false;
  }
}

/** A directory of links, so that what a tool writes beside the packages stays in the copy. */
function linkPackages(from: string, to: string): void {
  mkdirSync(to, { recursive: true });
  for (const entry of entriesOf(from)) {
    const target = join(from, entry.name);
    if (entry.name.startsWith('@') && entry.isDirectory()) linkPackages(target, join(to, entry.name));
    else if (!entry.name.startsWith('.') || ['.bin', '.pnpm'].includes(entry.name))
      symlinkSync(entry.isSymbolicLink() ? resolved(target) : target, join(to, entry.name));
  }
}

function resolved(link: string): string {
  try {
    return realpathSync(link);
  } catch {
    // It leads nowhere, and shall do so in the copy.
    return link;
  }
}

function entriesOf(directory: string): Dirent[] {
  try {
    return readdirSync(directory, { withFileTypes: true });
  } catch {
    // Somebody else's: tools cannot read it either.
    return [];
  }
}
