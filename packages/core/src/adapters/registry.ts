import { CoreError } from '../errors.ts';
import type { HookContext, Resource } from '../types.ts';
import { onLoad } from './modules.ts';
import type { Adapter, Patch, Tracker } from './types.ts';

/** Time limit in milliseconds for everything to become quiet, unless FORKPOINT_ADAPTERS_WAIT_MS says otherwise. */
const WAIT_MS = 5_000;
const WAIT_MAX_MS = 3_600_000;
/** How long new work is held at first. Work that needs more of it to end would never end otherwise. */
const FIRST_HOLD_MS = 250;
const BREATH_MS = 20;
const POLL_MS = 2;
/** Turns of the event loop from the end of a connection to `close`: read, shut down, close (lib/net.js). */
const TURNS = 5;

// Taken before the program can replace them with a fake clock.
const { setTimeout: startTimer, setImmediate: startImmediate } = globalThis;
const { now } = Date;

/**
 * The adapters as one resource. It is registered before anything of the program is: its before hook runs as the last one and its
 * after hook as the first, so that the program's own hooks can use their libraries.
 */
export class Adapters implements Resource {
  readonly name = 'adapters';
  readonly #adapters = new Map<string, Adapter>();
  #runId: string | undefined;

  /** Takes part with these adapters, but for those that `FORKPOINT_ADAPTERS` leaves out: `none`, or `-pg,-http`. */
  start(adapters: readonly Adapter[]): void {
    const words = (process.env['FORKPOINT_ADAPTERS'] ?? '').split(/[\s,]+/);
    if (words.includes('none')) return;
    const patches = new Map<string, Patch>();
    for (const adapter of adapters) {
      if (words.includes(`-${adapter.name}`)) continue;
      this.#adapters.set(adapter.name, adapter);
      for (const [file, patch] of Object.entries(adapter.files ?? {})) patches.set(file, patch);
      adapter.start?.();
    }
    onLoad(patches);
  }

  /** Adapts a library by hand; returns what is to be used in its place. Does nothing when the adapter is switched off. */
  adapt(name: string, library: unknown): unknown {
    return this.#adapters.get(name)?.adapt?.(library) ?? library;
  }

  /** Returns whether a checkpoint has to wait for nothing. */
  isEmpty(): boolean {
    return this.#trackers.every((tracker) => tracker.isIdle());
  }

  get #trackers(): Tracker[] {
    return [...this.#adapters.values()].map(({ tracker }) => tracker);
  }

  /** Waits until nothing is under way and closes what is idle. Throws an AggregateError with everything that stays busy. */
  async beforeCheckpoint(context: HookContext): Promise<void> {
    this.#runId = context.id;
    if (this.isEmpty()) return;
    const limitMs = waitLimit();
    const deadline = now() + limitMs;
    for (let holdMs = FIRST_HOLD_MS; ; holdMs *= 2) {
      for (const tracker of this.#trackers) tracker.hold();
      if (await this.#becomesQuiet(Math.min(deadline, now() + holdMs), deadline)) return;
      if (now() >= deadline) break;
      // What is under way may need work that is held, as a transaction that asks another connection of its pool.
      for (const tracker of this.#trackers) tracker.release();
      await pause(BREATH_MS);
    }
    const errors = this.#complaints(limitMs);
    // It may have become quiet in the last moment.
    if (errors.length > 0) throw new AggregateError(errors, 'connections are in use');
  }

  /** Lets everything go on; in a clone, with connections of its own. */
  async afterRestore(context: HookContext): Promise<void> {
    const isClone = this.#runId !== context.id;
    const errors: unknown[] = [];
    for (const tracker of this.#trackers) {
      try {
        tracker.wake(isClone);
      } catch (error) {
        errors.push(error);
      }
    }
    // Libraries without an adapter: they are to know before the program goes on that their connections have gone.
    if (isClone) for (let turns = TURNS; turns > 0; turns--) await turn();
    for (const tracker of this.#trackers) tracker.release();
    if (errors.length > 0) throw new AggregateError(errors, 'adapters failed');
  }

  async #becomesQuiet(until: number, deadline: number): Promise<boolean> {
    for (;;) {
      if (this.#isQuiet()) {
        const limitMs = Math.max(BREATH_MS, deadline - now());
        await Promise.all(this.#trackers.map(async (tracker) => await tracker.close(limitMs)));
        // Looked at again: the program went on meanwhile.
        if (this.#isQuiet()) return true;
      }
      if (now() >= until) return false;
      await pause(POLL_MS);
    }
  }

  #isQuiet(): boolean {
    return this.#trackers.every((tracker) => tracker.busy().length === 0);
  }

  #complaints(limitMs: number): CoreError[] {
    return this.#trackers.flatMap((tracker) =>
      tracker.busy().map(({ what, work }) => {
        const { name } = tracker;
        const advice = `let it end before the checkpoint, wait longer with FORKPOINT_ADAPTERS_WAIT_MS, or run with FORKPOINT_ADAPTERS=-${name}: clones then see it cut`;
        const message = `${name}: ${what}: ${work} under way after ${limitMs} ms; ${advice}`;
        return new CoreError('ERR_FORKPOINT_BUSY', message);
      }),
    );
  }
}

function waitLimit(): number {
  const value = Number(process.env['FORKPOINT_ADAPTERS_WAIT_MS'] ?? WAIT_MS);
  return Number.isFinite(value) && value >= 0 ? Math.min(value, WAIT_MAX_MS) : WAIT_MS;
}

async function pause(ms: number): Promise<void> {
  await new Promise<void>((resolve) => {
    startTimer(resolve, ms);
  });
}

async function turn(): Promise<void> {
  await new Promise<void>((resolve) => {
    startImmediate(resolve);
  });
}
