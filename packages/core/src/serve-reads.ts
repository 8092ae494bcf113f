import type * as FileSystem from 'node:fs';

/** More files than this are not remembered. */
const FILES_MAX = 2000;

/**
 * The files that a program opens while it starts: what it made of them is in its image, so that an image is of use only
 * as long as they are the same. Seen are those opened by way of `fs`, and not by native code.
 */
export class FileReads {
  readonly #paths = new Set<string>();
  readonly #restore: (() => void)[] = [];
  #isOn = true;

  /** Begins to remember. */
  start(): void {
    const fs = process.getBuiltinModule('node:fs');
    for (const name of ['open', 'openSync', 'readFile', 'readFileSync'] as const) this.#watch(fs, name);
    for (const name of ['open', 'readFile'] as const) this.#watch(fs.promises, name);
    this.#sync();
  }

  /** Ends it, and returns absolute paths. */
  stop(): string[] {
    this.#isOn = false;
    for (const restore of this.#restore.splice(0)) restore();
    this.#sync();
    return [...this.#paths];
  }

  #watch(object: typeof FileSystem | typeof FileSystem.promises, name: string): void {
    const real: unknown = Reflect.get(object, name);
    if (typeof real !== 'function') return;
    const note = (path: unknown, options: unknown): void => this.#note(path, options);
    // Calls of `this` are passed on: a program may have replaced the function by then.
    const watched = function (this: unknown, ...args: unknown[]): unknown {
      note(args[0], args[1]);
      return Reflect.apply(real, this, args);
    };
    // util.promisify and others look at the function's own properties.
    Object.defineProperties(watched, Object.getOwnPropertyDescriptors(real));
    Reflect.set(object, name, watched);
    this.#restore.push(() => {
      if (Reflect.get(object, name) === watched) Reflect.set(object, name, real);
    });
  }

  #note(path: unknown, options: unknown): void {
    if (!this.#isOn || this.#paths.size >= FILES_MAX) return;
    const paths = process.getBuiltinModule('node:path');
    const urls = process.getBuiltinModule('node:url');
    const flag: unknown =
      typeof options === 'object' && options !== null ? Reflect.get(options, 'flag') : options;
    // What is written is no input.
    if (typeof flag === 'string' && /[wax]/.test(flag)) return;
    const isUrl = path instanceof URL && path.protocol === 'file:';
    const file = isUrl
      ? urls.fileURLToPath(path)
      : typeof path === 'string'
        ? paths.resolve(path)
        : undefined;
    // Packages are what the lockfile says; what the kernel tells differs each time.
    if (file !== undefined && !/^\/(?:proc|sys|dev)\/|\/node_modules\//.test(file)) this.#paths.add(file);
  }

  /** Modules that import names from `fs` see what is there now. */
  #sync(): void {
    process.getBuiltinModule('node:module').syncBuiltinESMExports();
  }
}
