/** How long a program counts as starting, in milliseconds; its first checkpoint ends that as well. */
const START_MS = 10_000;
/** Beyond this many names, and for longer ones, nothing is remembered. */
const NAMES_MAX = 256;
const NAME_MAX = 128;
/** Emitted by `process` in a clone with the names of the variables that have changed. */
export const CHANGED_EVENT = 'forkpoint:config-changed';

// Taken before the program can replace it with a fake clock.
const { setTimeout: startTimer } = globalThis;

/**
 * Remembers which variables a program reads while it starts: what it made of them stays as it was when a restore changes
 * them, and the restore command warns. `process.env` is a proxy for that long; afterwards it is Node's own object again,
 * because a proxy makes a read a microsecond slower.
 */
export class EnvironmentReads {
  readonly #names = new Set<string>();
  readonly #own = process.env;
  #proxy: NodeJS.ProcessEnv | undefined;

  /** Begins to remember. */
  start(): void {
    const names = this.#names;
    // A copy of the whole environment, as for a child, reads every name in the order of the keys: that tells nothing.
    let copied: readonly (string | symbol)[] = [];
    let next = 0;
    const note = (name: string | symbol): void => {
      if (name === copied[next]) next++;
      else if (typeof name === 'string' && name.length <= NAME_MAX && names.size < NAMES_MAX) names.add(name);
    };
    this.#proxy = new Proxy(this.#own, {
      get: (own, name) => {
        note(name);
        return Reflect.get(own, name);
      },
      has: (own, name) => {
        note(name);
        return Reflect.has(own, name);
      },
      // Without it the object behind the proxy would be asked to define a property, in a form that it refuses.
      set: (own, name, value) => Reflect.set(own, name, value),
      ownKeys: (own) => {
        copied = Reflect.ownKeys(own);
        next = 0;
        return [...copied];
      },
    });
    process.env = this.#proxy;
    startTimer(() => this.stop(), START_MS).unref();
  }

  /** Ends the start of the program, once. */
  stop(): void {
    if (this.#proxy !== undefined && process.env === this.#proxy) process.env = this.#own;
    this.#proxy = undefined;
  }

  /**
   * Returns what was read, with a digest of each value as it is now, or `-` for none. Nothing when the program listens for
   * changes: it is told of them.
   */
  facts(): Record<string, string> {
    if (process.listenerCount(CHANGED_EVENT) > 0) return {};
    return Object.fromEntries(
      [...this.#names]
        .filter((name) => !name.startsWith('FORKPOINT_'))
        .map((name) => {
          const value = this.#own[name];
          return [name, value === undefined ? '-' : digestOf(value)];
        }),
    );
  }
}

/** FNV-1a of 32 bits, as the launcher computes it (restore.c): enough to see whether a value is another one. */
export function digestOf(text: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(text)) hash = Math.imul(hash ^ byte, 0x01000193);
  return (hash >>> 0).toString(16).padStart(8, '0');
}
