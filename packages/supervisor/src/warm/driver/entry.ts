import { existsSync, readFileSync, realpathSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { dirname, extname, join, sep } from 'node:path';
import { pathToFileURL } from 'node:url';

/**
 * How much is evaluated again for each call: `entry` only the file that is started; `package` all modules of the package that
 * it belongs to. Everything else stays as the warm-up has left it.
 */
export type Level = 'entry' | 'package';

/** Node's own loader: the part of it that the command `node FILE` goes through. */
interface Loader {
  _load(request: string, parent: null, isMain: boolean): unknown;
  _cache: Record<string, unknown>;
}

/** A program that can be started again and again in one process. */
export class Entry {
  readonly #path: string;
  readonly #real: string;
  readonly #isModule: boolean;
  readonly #package: string;
  #evaluation = 0;

  /** `path` is what `node` is given, absolute. Throws what realpath(3) throws, and at `package` where Node has no hooks. */
  constructor(path: string, level: Level) {
    this.#path = path;
    this.#real = realpathSync(path);
    const scope = packageOf(this.#real);
    this.#package = level === 'package' ? scope.directory + sep : '';
    const extension = extname(this.#real);
    this.#isModule = extension === '.mjs' || (extension !== '.cjs' && scope.isModule);
    if (level === 'package') this.#renewModules();
  }

  /** Evaluates the program; what it throws comes out as it would of `node FILE`. */
  start(): void {
    this.#evaluation++;
    const { _cache: cache } = nodeModule.Module as unknown as Loader;
    for (const key of Object.keys(cache)) {
      const isOwn = this.#package !== '' && key.startsWith(this.#package);
      if (key === this.#real || (isOwn && !key.slice(this.#package.length).includes(`node_modules${sep}`)))
        delete cache[key];
    }
    if (this.#isModule) {
      // Left unhandled on purpose: Node then reports it as it does for a module that it was started with.
      void import(`${pathToFileURL(this.#real).href}?forkpoint=${this.#evaluation}`);
    } else {
      (nodeModule.Module as unknown as Loader)._load(this.#path, null, true);
    }
  }

  /** Modules cannot be taken out of Node's cache; an address of their own makes them others. */
  #renewModules(): void {
    const prefix = pathToFileURL(this.#package).href;
    const { registerHooks } = nodeModule as { registerHooks?: typeof nodeModule.registerHooks };
    if (registerHooks === undefined) return;
    registerHooks({
      resolve: (specifier, context, next) => {
        const result = next(specifier, context);
        const { url } = result;
        if (
          !url.startsWith(prefix) ||
          url.includes('?') ||
          url.slice(prefix.length).includes('node_modules/')
        )
          return result;
        // Only for `import`: a required module is taken out of the cache by its path.
        if (!context.conditions.includes('import')) return result;
        return { ...result, url: `${url}?forkpoint=${this.#evaluation}` };
      },
    });
  }
}

/** Returns the package that a file belongs to. */
function packageOf(file: string): { directory: string; isModule: boolean } {
  for (let directory = dirname(file); ; directory = dirname(directory)) {
    const path = join(directory, 'package.json');
    if (existsSync(path)) {
      const fields: unknown = JSON.parse(readFileSync(path, 'utf8'));
      const isModule =
        typeof fields === 'object' && fields !== null && Reflect.get(fields, 'type') === 'module';
      // A package.json without a name only says what kind of modules lie beside it.
      if (typeof fields === 'object' && fields !== null && 'name' in fields) return { directory, isModule };
      return { directory: nextNamed(dirname(directory)) ?? directory, isModule };
    }
    if (directory === dirname(directory)) return { directory: dirname(file), isModule: false };
  }
}

function nextNamed(from: string): string | undefined {
  for (let directory = from; directory !== dirname(directory); directory = dirname(directory))
    if (existsSync(join(directory, 'package.json'))) return directory;
  return undefined;
}
