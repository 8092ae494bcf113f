import { existsSync, readFileSync, realpathSync, statSync } from 'node:fs';
import { isBuiltin } from 'node:module';
import { dirname, join, resolve, sep } from 'node:path';
import type { ImportId } from '../messages.ts';

/** An import of a package, as text: how it is asked for, the directory whose `node_modules` has it, and its specifier. */
const SEPARATOR = '|';
/** Statements that run when a file is loaded: at the beginning of a line, not within functions. */
const IMPORT =
  /^(?:import|export)\b(?!\s+type\b)[^'"`;()]*?\bfrom\s*['"]([^'"\n]+)['"]|^import\s*['"]([^'"\n]+)['"]|^(?:(?:const|let|var)\s[^=;]+=\s*)?require\(\s*['"]([^'"\n]+)['"]\s*\)/gm;
const ENDINGS = ['', '.js', '.mjs', '.cjs', '.ts', '.mts', '.cts', '.tsx', '.jsx', '/index.js', '/index.ts'];
/** Larger files are not written by hand. */
const BYTES_MAX = 1 << 20;
/** Files of the project that are looked at. */
const FILES_MAX = 5000;

/** What an id stands for. */
export interface Wanted {
  readonly kind: 'import' | 'require';
  readonly directory: string;
  readonly specifier: string;
}

/** Returns what a mold shall do for an id; undefined for one that is an address already. */
export function wantedOf(id: ImportId): Wanted | undefined {
  const [kind, directory, specifier] = id.split(SEPARATOR);
  if ((kind !== 'import' && kind !== 'require') || directory === undefined || specifier === undefined)
    return undefined;
  return { kind, directory, specifier };
}

/** Looks for what test files import of packages and of Node.js, themselves and by way of the project's own files. */
export class Scanner {
  readonly #direct = new Map<string, { readonly own: string[]; readonly ids: ImportId[] }>();
  readonly #homes = new Map<string, string | undefined>();

  /** Returns what a file imports, in the order in which it does. Files that cannot be read import nothing. */
  importsOf(file: string): ImportId[] {
    const ids = new Set<ImportId>();
    const seen = new Set<string>();
    const walk = (path: string): void => {
      if (seen.has(path)) return;
      seen.add(path);
      const { own, ids: direct } = this.#look(path);
      for (const id of direct) ids.add(id);
      for (const other of own) walk(other);
    };
    walk(file);
    return [...ids];
  }

  #look(path: string): { readonly own: string[]; readonly ids: ImportId[] } {
    const known = this.#direct.get(path);
    if (known !== undefined) return known;
    const own: string[] = [];
    const ids: ImportId[] = [];
    const found = { own, ids };
    this.#direct.set(path, found);
    for (const [statement, first, second, third] of textOf(path, this.#direct.size).matchAll(IMPORT)) {
      const specifier = first ?? second ?? third ?? '';
      const kind = third === undefined ? 'import' : 'require';
      if (specifier.includes(SEPARATOR) || statement.length > 4000) continue;
      if (isBuiltin(specifier)) ids.push(specifier.startsWith('node:') ? specifier : `node:${specifier}`);
      else if (/^\.{0,2}\//.test(specifier)) own.push(...fileAt(resolve(dirname(path), specifier)));
      else {
        const home = this.#homeOf(specifier, dirname(path));
        if (home !== undefined) ids.push([kind, home, specifier].join(SEPARATOR));
      }
    }
    return found;
  }

  /** The directory above a file whose `node_modules` has a package. Links to the project's own packages do not count. */
  #homeOf(specifier: string, from: string): string | undefined {
    const [, name] = /^((?:@[^/]+\/)?[^/:#]+)(\/|$)/.exec(specifier) ?? [];
    if (name === undefined) return undefined;
    const key = `${name}${SEPARATOR}${from}`;
    if (this.#homes.has(key)) return this.#homes.get(key);
    let home: string | undefined;
    for (let at = from; home === undefined; at = dirname(at)) {
      const path = join(at, 'node_modules', name);
      if (existsSync(path)) {
        if (realpathSync(path).includes(`${sep}node_modules${sep}`)) home = at;
        break;
      }
      if (at === dirname(at)) break;
    }
    this.#homes.set(key, home);
    return home;
  }
}

function fileAt(path: string): string[] {
  // TypeScript's own way: the name of what it would be compiled to.
  const others = [path.replace(/\.([cm]?)js$/, '.$1ts')].filter((one) => one !== path);
  for (const candidate of [...ENDINGS.map((ending) => path + ending), ...others])
    if (statSync(candidate, { throwIfNoEntry: false })?.isFile() === true) return [candidate];
  return [];
}

function textOf(path: string, count: number): string {
  try {
    if (count > FILES_MAX || statSync(path).size > BYTES_MAX) return '';
    return readFileSync(path, 'utf8');
  } catch {
    // Whoever runs it will say so.
    return '';
  }
}
