import { deserialize, serialize } from 'node:v8';

/** How often the file is played: from the second time on V8 knows the types. */
const TIMES = 4;
const SETUP = '/forkpoint/rehearsal-setup.mjs';
/** Without snapshots, so that Vitest's own way to keep them can be loaded without anything to keep. */
const FIRST = '/forkpoint/rehearsal-first.test.mjs';
const FILE = '/forkpoint/rehearsal.test.mjs';
const SNAPSHOTS = '/forkpoint/rehearsal.snap';
/** Counts the tests that have run to their end. */
const COUNT = Symbol.for('forkpoint.rehearsed');
const TESTS = 5;
/** Longest time for one file; it takes some 20 ms. */
const LIMIT_MS = 10_000;
/** Where `expect` keeps what it knows of the current test. */
const STATES = Symbol.for('matchers-object');
const EXPECT = Symbol.for('expect-global');

/** As Vite transforms them. */
const CODE: Readonly<Record<string, string>> = {
  [SETUP]: `const v = await __vite_ssr_import__("vitest", {"importedNames":["afterAll","afterEach","beforeAll","beforeEach"]});
for (const hook of ['beforeAll', 'afterAll', 'beforeEach', 'afterEach']) (0,v[hook])(() => undefined);`,
  [FIRST]: `const v = await __vite_ssr_import__("vitest", {"importedNames":["test"]});
(0,v.test)('begins', () => { globalThis[Symbol.for('forkpoint.rehearsed')]++; });`,
  [FILE]: `const v = await __vite_ssr_import__("vitest", {"importedNames":["describe","expect","it","test","vi"]});
const passed = () => { globalThis[Symbol.for('forkpoint.rehearsed')]++; };
const { describe, expect, it, test, vi } = v;
Object.defineProperty(__vite_ssr_exports__, 'own', { enumerable: true, configurable: true, get() { return passed; } });
(0,describe)('a group', () => {
  (0,it)('compares', () => {
    (0,expect)(1 + 1).toBe(2);
    (0,expect)('text').toMatch(/ex/);
    (0,expect)([1, 2, 3]).toEqual([1, 2, 3]);
    (0,expect)([1, 2, 3]).toHaveLength(3);
    (0,expect)({ a: [1, { b: new Map([[1, new Set(['x'])]]), c: new Date(0) }] }).toEqual({ a: [1, { b: new Map([[1, new Set(['x'])]]), c: new Date(0) }] });
    (0,expect)({ a: 1, b: 2 }).toMatchObject({ a: 1 });
    (0,expect)({ a: 1 }).toStrictEqual({ a: 1 });
    (0,expect)('text').toContain('e');
    (0,expect)(undefined).toBeUndefined();
    (0,expect)(null).toBeNull();
    (0,expect)(1).not.toBe(2);
    (0,expect)(2).toBeGreaterThan(1);
    (0,expect)({ a: 'x' }).toEqual({ a: expect.any(String) });
    passed();
  });
  (0,it)('waits', async () => {
    await new Promise((resolve) => setTimeout(resolve, 0));
    await (0,expect)(Promise.resolve(1)).resolves.toBe(1);
    await (0,expect)(Promise.reject(new Error('no'))).rejects.toThrow('no');
    passed();
  });
});
(0,test)('spies', () => {
  const spy = (0,vi).fn(() => 1);
  (0,expect)(spy(1)).toBe(1);
  (0,expect)(spy).toHaveBeenCalledWith(1);
  (0,expect)(spy).toHaveBeenCalledTimes(1);
  (0,expect)(() => { throw new TypeError('no'); }).toThrow(TypeError);
  passed();
});
(0,test)('keeps snapshots', () => {
  (0,expect)({ a: [1, 'two', null, undefined, true], b: { c: new Date(0) } }).toMatchSnapshot();
  (0,expect)('one').toMatchSnapshot();
  passed();
});
(0,test).each([1])('says %s', (one) => {
  (0,expect)(one).toBeTruthy();
  (0,console).log('said', one, { a: 1 });
  passed();
});`,
};

/**
 * Plays a test file in the mold, and Vitest's part in it, so that no clone has to compile what every file runs. It asks Vitest for
 * nothing, writes nothing, and leaves Vitest's worker as it is before its first file, but for what is made once per worker anyway.
 */
export class Rehearsal {
  readonly #deliver: (message: unknown) => void;
  #finished: ((error: unknown) => void) | undefined;
  #said: string | null = null;

  /** `deliver` hands a message to Vitest's worker. */
  constructor(deliver: (message: unknown) => void) {
    this.#deliver = deliver;
  }

  /** `config` is that of the worker. Throws when the file did not pass, and the worker is spoilt. */
  async play(config: object): Promise<void> {
    const world = globalThis as { [COUNT]?: number };
    const states = Reflect.get(globalThis, STATES) as WeakMap<object, object> | undefined;
    const expect = Reflect.get(globalThis, EXPECT) as object | undefined;
    const state = expect === undefined ? undefined : states?.get(expect);
    const before = state === undefined ? undefined : Object.getOwnPropertyDescriptors(state);
    const { env } = process;
    const kept = { ...env };
    world[COUNT] = 0;
    await this.#once(this.#configFrom(config, undefined), FIRST);
    for (let time = 0; time < TIMES; time++)
      await this.#once(this.#configFrom(config, this.#snapshots()), FILE);
    const count = world[COUNT];
    delete world[COUNT];
    if (state !== undefined && before !== undefined) {
      for (const key of Reflect.ownKeys(state)) Reflect.deleteProperty(state, key);
      Object.defineProperties(state, before);
    }
    for (const name of Object.keys(env)) if (!(name in kept)) delete env[name];
    Object.assign(env, kept);
    const wanted = 1 + TIMES * TESTS;
    if (count !== wanted) throw new Error(`${count} of ${wanted} rehearsed tests have passed`);
  }

  /** Takes what the worker posts while it plays. */
  take(posted: unknown): void {
    const message = deserialize(serialize(posted)) as {
      readonly t?: string;
      readonly m?: string;
      readonly a?: readonly unknown[];
      readonly i?: string;
      readonly type?: string;
      readonly error?: unknown;
    };
    if (message.t === 'q') {
      const r = this.#answer(message.m ?? '', message.a ?? []);
      if (message.i !== undefined)
        setImmediate(() => this.#deliver(deserialize(serialize({ t: 's', i: message.i, r }))));
    } else if (message.type === 'testfileFinished') this.#finished?.(message.error);
  }

  async #once(config: object, filepath: string): Promise<void> {
    const error = await new Promise<unknown>((resolve) => {
      const late = new Error(`it took longer than ${LIMIT_MS} ms`);
      const timer = setTimeout(() => resolve(late), LIMIT_MS);
      this.#finished = (what) => {
        clearTimeout(timer);
        resolve(what);
      };
      const context = {
        files: [{ filepath, fileTags: [] }],
        invalidates: [],
        providedContext: {},
        workerId: 1,
        config,
      };
      const message = { __vitest_worker_request__: true, type: 'run', context };
      this.#deliver(message);
    });
    if (error !== undefined)
      throw new Error(`the rehearsal failed: ${String((error as { message?: unknown }).message)}`);
  }

  #answer(method: string, [asked]: readonly unknown[]): unknown {
    if (method === 'fetch') {
      const id = String(asked);
      const code = CODE[id];
      if (code === undefined) throw new Error(`nobody rehearses ${id}`);
      return { code, file: id, id, url: id, invalidate: false };
    }
    return method === 'resolveSnapshotPath' ? SNAPSHOTS : undefined;
  }

  /** A copy of the worker's configuration without all that belongs to the project. */
  #configFrom(config: object, snapshotEnvironment: object | undefined): object {
    const whole = deserialize(serialize(config)) as {
      readonly coverage?: object;
      readonly snapshotOptions?: object;
    };
    const own = {
      setupFiles: [SETUP],
      runner: undefined,
      diff: undefined,
      snapshotEnvironment: undefined,
      snapshotSerializers: [],
      testNamePattern: undefined,
      tagsFilter: undefined,
      tags: [],
      bail: 0,
      retry: 0,
      isolate: true,
      detectAsyncLeaks: false,
      coverage: { ...whole.coverage, enabled: false },
      sequence: { hooks: 'stack', seed: 1 },
      expect: {},
    };
    const snapshotOptions = { ...whole.snapshotOptions, updateSnapshot: 'all', snapshotEnvironment };
    return { ...whole, ...own, snapshotOptions };
  }

  #snapshots(): object {
    return {
      getVersion: () => '1',
      getHeader: () => '// Vitest Snapshot v1, https://vitest.dev/guide/snapshot.html',
      resolvePath: () => Promise.resolve(SNAPSHOTS),
      resolveRawPath: (_: string, path: string) => Promise.resolve(path),
      prepareDirectory: () => Promise.resolve(),
      saveSnapshotFile: (_: string, text: string) => {
        this.#said = text;
        return Promise.resolve();
      },
      readSnapshotFile: () => Promise.resolve(this.#said),
      removeSnapshotFile: () => Promise.resolve(),
    };
  }
}
