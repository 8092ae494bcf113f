import { setImmediate as nextTurn } from 'node:timers/promises';
import { fileURLToPath, pathToFileURL } from 'node:url';
import type { ImportId, Preloaded, Unfit } from '../messages.ts';
import { differenceOf, lookAtWorld, settledWorld } from './world.ts';

/** What `globals: true` puts there once a file is run (vitest/globals). */
const GLOBALS = [
  'suite',
  'test',
  'chai',
  'describe',
  'it',
  'expectTypeOf',
  'assertType',
  'expect',
  'assert',
  'vitest',
  'vi',
  'beforeAll',
  'afterAll',
  'beforeEach',
  'afterEach',
  'onTestFailed',
  'onTestFinished',
  'aroundEach',
  'aroundAll',
];

/** Files that were loaded, and who loaded what, in order. */
export class Loads {
  readonly files = new Set<string>();
  readonly #children = new Map<string, Set<string>>();
  readonly #hooks: { deregister(): void } | undefined;

  /** Begins to watch. Without `module.registerHooks` (before Node.js 22.15) only CommonJS modules are seen. */
  constructor() {
    const { registerHooks } = process.getBuiltinModule('node:module');
    if (typeof registerHooks !== 'function') return;
    this.#hooks = registerHooks({
      resolve: (specifier, context, next) => {
        const found = next(specifier, context);
        if (found.url.startsWith('file:')) {
          this.files.add(fileURLToPath(found.url));
          if (context.parentURL !== undefined) this.#add(context.parentURL, found.url);
        }
        return found;
      },
    });
  }

  /** Whether ECMAScript modules were seen as well. */
  get seesAll(): boolean {
    return this.#hooks !== undefined;
  }

  /** Returns what a module loads of other packages, itself or by way of files of its own. */
  foreign(id: ImportId): ImportId[] {
    const home = packageOf(id);
    const found = new Set<ImportId>();
    const seen = new Set<string>([id.startsWith('/') ? pathToFileURL(id).href : id]);
    for (const at of seen) {
      for (const child of this.#children.get(at) ?? []) {
        if (packageOf(child) === home) seen.add(child);
        else found.add(child);
      }
    }
    return [...found];
  }

  stop(): void {
    this.#hooks?.deregister();
    for (const path of Object.keys(require.cache)) this.files.add(path);
  }

  #add(parent: string, child: string): void {
    const children = this.#children.get(parent) ?? new Set();
    children.add(child);
    this.#children.set(parent, children);
  }
}

/** The directory below the last `node_modules` that a module is in. */
function packageOf(id: string): string {
  return /^(?:file:\/\/)?(.*\/node_modules\/(?:@[^/]+\/)?[^/]+)/.exec(id)?.[1] ?? '';
}

/** What is to be imported. */
export interface PreloadOrder {
  readonly imports: readonly ImportId[];
  readonly forced: readonly ImportId[];
  /** Whether tests have the globals of Vitest. */
  readonly hasGlobals: boolean;
  readonly importOne: (id: ImportId) => Promise<unknown>;
}

/**
 * Imports modules one after the other and finds those that may not be shared: they register hooks of a test file, change what
 * others see, keep something open, or fail. `forced` are imported without a look.
 */
export async function preload(
  loads: Loads,
  { imports, forced, hasGlobals, importOne }: PreloadOrder,
): Promise<Preloaded> {
  const good: ImportId[] = [];
  const unfit: Unfit[] = [];
  for (const id of forced) {
    await importOne(id);
    good.push(id);
  }
  lookAtWorld();
  const traps = hasGlobals ? new Traps() : undefined;
  for (const id of imports) {
    const why = await tryImport(id, importOne, traps);
    if (why === undefined) good.push(id);
    else unfit.push({ id, why, instead: loads.foreign(id) });
  }
  traps?.remove();
  loads.stop();
  return { imports: good, unfit, files: [...loads.files], hasAllFiles: loads.seesAll };
}

async function tryImport(
  id: ImportId,
  importOne: PreloadOrder['importOne'],
  traps: Traps | undefined,
): Promise<string | undefined> {
  const before = lookAtWorld();
  try {
    await importOne(id);
    await nextTurn();
  } catch (error) {
    return `it fails: ${error instanceof Error ? error.message : String(error)}`;
  }
  return traps?.take() ?? differenceOf(before, await settledWorld(before));
}

/** Stand in the place of the globals of tests, and notice who asks for them. */
class Traps {
  readonly #before = GLOBALS.map(
    (name) => [name, Reflect.getOwnPropertyDescriptor(globalThis, name)] as const,
  );
  #touched: string | undefined;

  constructor() {
    for (const [name] of this.#before) {
      Object.defineProperty(globalThis, name, {
        configurable: true,
        get: () => {
          this.#touched = name;
          return undefined;
        },
        set: () => {
          this.#touched = name;
        },
      });
    }
  }

  take(): string | undefined {
    const touched = this.#touched;
    this.#touched = undefined;
    return touched === undefined ? undefined : `it asks for the global ${touched}`;
  }

  remove(): void {
    for (const [name, descriptor] of this.#before) {
      Reflect.deleteProperty(globalThis, name);
      if (descriptor !== undefined) Object.defineProperty(globalThis, name, descriptor);
    }
  }
}
