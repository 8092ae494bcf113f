import type { AsyncLocalStorage } from 'node:async_hooks';

import type { OrderedContext } from './context.ts';
import { flattenErrors } from './errors.ts';
import type { HookContext } from './types.ts';

/** Runs the hooks of one checkpoint at a time, and knows whether code runs on behalf of a hook. */
export class Rounds {
  readonly #context: OrderedContext;
  #storage: AsyncLocalStorage<{ isActive: boolean }> | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #waiting = 0;

  /** `context` is the global context. */
  constructor(context: OrderedContext) {
    this.#context = context;
  }

  /** Whether a round is under way or waits for its turn. */
  get isBusy(): boolean {
    return this.#waiting > 0;
  }

  /** Whether the caller is a hook, or something that a hook called. */
  get isNested(): boolean {
    return this.#storage?.getStore()?.isActive === true;
  }

  /** Runs `round` after all earlier ones and returns its result. */
  async run<T>(round: () => Promise<T>): Promise<T> {
    this.#waiting++;
    const result = this.#tail.then(round);
    // The failure of one round belongs to who asked for it and must not stop the next.
    this.#tail = result.catch(() => undefined);
    try {
      return await result;
    } finally {
      this.#waiting--;
    }
  }

  /** Resolves when all rounds that have been asked for are over. */
  async whenIdle(): Promise<void> {
    await this.#tail;
  }

  /** Runs all before hooks, newest first, and returns what they threw. */
  before(identity: HookContext): Promise<unknown[]> {
    return this.#collect(() => this.#context.beforeCheckpoint(identity));
  }

  /** Runs all after hooks, oldest first, and returns what they threw. */
  after(identity: HookContext): Promise<unknown[]> {
    return this.#collect(() => this.#context.afterRestore(identity));
  }

  async #collect(hooks: () => Promise<void>): Promise<unknown[]> {
    // Loaded late: until Node 22 an AsyncLocalStorage in use makes every promise a little slower.
    const { AsyncLocalStorage } = process.getBuiltinModule('node:async_hooks');
    this.#storage ??= new AsyncLocalStorage();
    const scope = { isActive: true };
    try {
      await this.#storage.run(scope, hooks);
      return [];
    } catch (error) {
      return flattenErrors([error]);
    } finally {
      scope.isActive = false;
      this.#storage.disable();
    }
  }
}
