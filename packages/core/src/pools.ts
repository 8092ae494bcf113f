import { CoreError } from './errors.ts';

/**
 * Random bytes that libraries draw ahead. nanoid (3 to 5) and uuid (up to 9) fill a buffer and hand out slices of it; bson
 * keeps five bytes for as long as the process lives. Clones would hand out the same ids, so these buffers are filled anew
 * after a restore.
 *
 * A buffer that is filled again as a whole is such a pool by what it does. By its first filling it cannot be told from a key, which must
 * not change; so then only what a library known to have a pool has filled counts. Files of such a library are known by their path.
 */

/** Smallest pool. What is smaller may be a key or a nonce that is kept in one buffer all the time. */
const MIN_POOL = 128;
/** Buffers that were filled once are remembered so many at most; the oldest are forgotten first. */
const MAX_RANGES = 512;
/** Frames that are looked at to see who fills a buffer. */
const FRAMES = 10;
/** Bytes at either end of a buffer that tell whether it is as it was filled. */
const END_BYTES = 16;
const STACK_SETTINGS = ['stackTraceLimit', 'prepareStackTrace'];
const POOLING = /[\\/]node_modules[\\/](?:nanoid|uuid)(?:[@\d-][^\\/]*)?[\\/]/;
/** bson draws five bytes once: the middle of each ObjectId (bson, src/objectid.ts). */
const PROCESS_UNIQUE = 5;
const KEEPING = /[\\/]node_modules[\\/](?:bson|mongodb)[\\/]|[\\/]bson[^\\/]*\.[cm]?js/;
/** When to look whether node:crypto is loaded: an ES module imports it without anybody being told. */
const LOOKS_MS = [0, 5, 20, 50, 100, 250, 500, 1000, 2000, 5000];

const { setTimeout: startTimer } = globalThis;

/** Part of an array buffer that was filled with random bytes. */
interface Range {
  readonly buffer: WeakRef<ArrayBufferLike>;
  readonly offset: number;
  readonly length: number;
  /** Its ends as they were filled: a buffer in which the program has written something else since is no pool. */
  ends: string;
  isPool: boolean;
}

type Random = Pick<typeof import('node:crypto'), 'randomBytes' | 'randomFillSync'>;
type Function_ = (this: unknown, ...args: unknown[]) => unknown;

/** The pools of the calling thread. */
export class RandomPools {
  readonly #byBuffer = new WeakMap<ArrayBufferLike, Range[]>();
  #ranges: Range[] = [];
  #isInstalled = false;
  #fill: Random['randomFillSync'] | undefined;

  /**
   * Watches node:crypto from the moment at which it is loaded: loading it costs 5 to 10 ms, which a program that
   * does without shall not pay.
   */
  watch(): void {
    if (process.versions['openssl'] === undefined) return;
    this.#watchRequire();
    this.#watchGlobal();
    for (const ms of LOOKS_MS) startTimer(() => this.look(), ms).unref();
  }

  /** Begins to watch if node:crypto is loaded. */
  look(): void {
    if (!this.#isInstalled && isCryptoLoaded()) this.#install();
  }

  /** Fills all pools anew. Call it once OpenSSL has been reseeded. */
  refill(): void {
    this.look();
    for (const range of this.#ranges) {
      const { offset, length } = range;
      const buffer = range.isPool ? range.buffer.deref() : undefined;
      // One that was given to another thread is empty here.
      if (buffer === undefined || buffer.byteLength < offset + length) continue;
      const view = new Uint8Array(buffer, offset, length);
      if (endsOf(view) !== range.ends) continue;
      this.#fill?.(view);
      range.ends = endsOf(view);
    }
  }

  #watchRequire(): void {
    const loader: unknown = process.getBuiltinModule('node:module');
    // Module._load is not documented, and what most tools wrap that watch modules.
    if (typeof loader !== 'function' || !('_load' in loader) || typeof loader._load !== 'function') return;
    const load = loader._load as Function_;
    const onLoaded = (): void => {
      if (loader._load === watching) loader._load = load;
      this.look();
    };
    const watching: Function_ = function watchingLoad(this: unknown, ...args) {
      const exports = Reflect.apply(load, this, args);
      if (args[0] === 'crypto' || args[0] === 'node:crypto') onLoaded();
      return exports;
    };
    loader._load = watching;
  }

  #watchGlobal(): void {
    const own = Object.getOwnPropertyDescriptor(globalThis, 'crypto');
    const get: unknown = own === undefined ? undefined : Reflect.get(own, 'get');
    if (own?.configurable !== true || typeof get !== 'function') return;
    const look = (): void => this.look();
    Object.defineProperty(globalThis, 'crypto', {
      ...own,
      get(this: unknown): unknown {
        const crypto = Reflect.apply(get, this, []);
        Object.defineProperty(globalThis, 'crypto', own);
        look();
        return crypto;
      },
    });
  }

  #install(): void {
    this.#isInstalled = true;
    const crypto = process.getBuiltinModule('node:crypto');
    this.#fill = crypto.randomFillSync;
    const noteFill = (view: unknown, part: readonly unknown[]): void => {
      // A pool is filled whole; who fills a part of it does the rest as well, later.
      if (ArrayBuffer.isView(view) && part.length === 0) this.#note(view);
    };
    wrap(crypto, 'randomFillSync', (filled, [, ...part]) => noteFill(filled, part));
    wrap(crypto, 'randomBytes', (drawn, [size]) => {
      if (size === PROCESS_UNIQUE) noteFill(drawn, []);
    });
    const webcrypto: object = Reflect.getPrototypeOf(crypto.webcrypto) ?? {};
    wrap(webcrypto, 'getRandomValues', (filled) => noteFill(filled, []));
    process.getBuiltinModule('node:module').syncBuiltinESMExports();
  }

  #note(view: ArrayBufferView): void {
    const { buffer, byteOffset: offset, byteLength: length } = view;
    const isKept = length === PROCESS_UNIQUE && isFrom(KEEPING);
    if (length < MIN_POOL && !isKept) return;
    const ranges = this.#byBuffer.get(buffer) ?? [];
    const known = ranges.find((range) => range.offset === offset && range.length === length);
    const ends = endsOf(new Uint8Array(buffer, offset, length));
    if (known !== undefined) {
      Object.assign(known, { isPool: true, ends });
      return;
    }
    const range = { buffer: new WeakRef(buffer), offset, length, ends, isPool: isKept || isFrom(POOLING) };
    this.#byBuffer.set(buffer, [...ranges, range]);
    this.#ranges.push(range);
    if (this.#ranges.length > MAX_RANGES) this.#forget();
  }

  /** Keeps pools that live, and half of what may become one. */
  #forget(): void {
    const living = this.#ranges.filter(({ buffer }) => buffer.deref() !== undefined);
    const pools = living.filter(({ isPool }) => isPool).slice(-MAX_RANGES / 2);
    const others = living.filter(({ isPool }) => !isPool);
    const kept = others.slice(-MAX_RANGES / 4);
    for (const { buffer } of others.slice(0, -MAX_RANGES / 4)) {
      const gone = buffer.deref();
      if (gone !== undefined) this.#byBuffer.delete(gone);
    }
    this.#ranges = [...pools, ...kept];
  }
}

function endsOf(bytes: Uint8Array): string {
  return `${bytes.subarray(0, END_BYTES).join()} ${bytes.subarray(-END_BYTES).join()}`;
}

/** Puts a function in place of another that does the same and then tells what it returned and was given. */
function wrap(
  owner: object,
  name: string,
  tell: (returned: unknown, args: readonly unknown[]) => void,
): void {
  const own = Object.getOwnPropertyDescriptor(owner, name);
  const original: unknown = own?.value;
  if (typeof original !== 'function') return;
  // A method, so that it cannot be called with `new`, like the native one.
  const methods: object = {
    wrapped(this: unknown, ...args: unknown[]): unknown {
      const returned: unknown = Reflect.apply(original, this, args);
      tell(returned, args);
      return returned;
    },
  };
  const wrapped: object = Reflect.get(methods, 'wrapped');
  for (const key of ['name', 'length'] as const)
    Object.defineProperty(wrapped, key, { value: original[key], configurable: true });
  Object.defineProperty(owner, name, { ...own, value: wrapped });
}

/** Whether one of the files that are just being called is of certain libraries. */
function isFrom(libraries: RegExp): boolean {
  const kept = Object.fromEntries(STACK_SETTINGS.map((name) => [name, Reflect.get(Error, name)]));
  // What the program makes of stacks must not run here.
  Object.assign(Error, { stackTraceLimit: FRAMES, prepareStackTrace: undefined });
  const { stack = '' } = new CoreError('ERR_FORKPOINT_RESEED', 'who asks');
  Object.assign(Error, kept);
  return libraries.test(stack);
}

// process.moduleLoadList is not documented; where it is missing the module counts as not loaded, and is loaded by nobody here.
function isCryptoLoaded(): boolean {
  const list: unknown = 'moduleLoadList' in process ? process.moduleLoadList : undefined;
  return Array.isArray(list) && list.includes('NativeModule crypto');
}
