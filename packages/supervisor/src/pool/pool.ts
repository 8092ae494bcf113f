import type { ForkedChild } from '@forkpoint/core/family';
import { newId } from '@forkpoint/store';
import type { ManifestSlot } from '@forkpoint/manifest';
import { SupervisorError } from '../error.ts';
import { bringClone, ownPorts, removeClone } from '../host/clones.ts';
import type { CloneMaker } from '../host/clones.ts';
import type { AcquireOptions, Pool, PooledClone, PoolEvent } from '../host/pool-types.ts';
import { Parked } from './parked.ts';
import { planPool } from './policy.ts';
import type { PoolBounds, PoolPlan } from './policy.ts';

/** What a pool is made of. */
export interface PoolParts {
  readonly maker: CloneMaker;
  readonly image: string;
  /** FIFOs at which a parked clone stands, relative to its control directory. */
  readonly fifos: readonly string[];
  readonly slots: readonly ManifestSlot[];
  readonly bounds: PoolBounds;
  readonly checkMs: number;
  readonly stdio: 'pipe' | 'log' | 'ignore';
  readonly listen: Readonly<Record<string, string>>;
  readonly env: Readonly<Record<string, string>>;
  readonly timeoutMs: number;
  readonly onEvent: (event: PoolEvent) => void;
}

const REFILL_AFTER_MS = 20;
/** Failed starts in a row after which nobody waits for the next. */
const ENOUGH_FAILURES = 3;

/** Clones that stand ready, and those that were handed over; what to do and when is decided by `planPool`. */
export class ClonePool implements Pool {
  readonly #parts: PoolParts;
  readonly #parked = new Map<string, Parked>();
  readonly #live = new Set<ForkedChild>();
  /** Each settles when its clone stands ready or has failed. */
  readonly #starts = new Set<Promise<void>>();
  readonly #onSettled = new Set<() => void>();
  readonly #timer: NodeJS.Timeout;
  #again: NodeJS.Timeout | undefined;
  #typicalBytes = 0;
  #failures = 0;
  #failedAtMs = 0;
  #lastError: Error | undefined;
  #number = 0;
  #isOpen = true;

  constructor(parts: PoolParts) {
    this.#parts = parts;
    // The pool keeps no process alive by itself; its clones' lines do while somebody waits for them.
    this.#timer = setInterval(() => void this.#check(), parts.checkMs).unref();
    this.#fill();
  }

  get counts(): Pool['counts'] {
    return { parked: this.#parked.size, starting: this.#starts.size, live: this.#live.size };
  }

  async ready(): Promise<void> {
    for (;;) {
      if (!this.#isOpen) throw closed();
      const { size } = this.#parts.bounds;
      if (this.#parked.size >= size) return;
      const isIdle = this.#starts.size === 0;
      if (this.#lastError !== undefined && (isIdle || this.#failures >= ENOUGH_FAILURES))
        throw this.#lastError;
      // Bounds on memory leave room for fewer.
      if (isIdle && this.#plan().start === 0) return;
      const held = setTimeout(() => undefined, this.#parts.timeoutMs);
      await new Promise<void>((resolve) => this.#onSettled.add(resolve));
      clearTimeout(held);
    }
  }

  async acquire({ args = [], env = {}, signal }: AcquireOptions = {}): Promise<PooledClone> {
    signal?.throwIfAborted();
    if (!this.#isOpen) throw closed();
    const variables = { ...this.#parts.env, ...env };
    for (const [id, parked] of this.#parked) {
      this.#parked.delete(id);
      const isThere = parked.assign(args, variables);
      this.#fillSoon();
      if (isThere) return this.#handOver(parked.child, true);
      this.#parts.onEvent({ type: 'retired', id, why: 'dead' });
      void removeClone(this.#parts.maker.places, id);
    }
    const child = await this.#start(false, args, variables, signal);
    if (signal?.aborted === true || !this.#isOpen) await this.#end(child);
    signal?.throwIfAborted();
    if (!this.#isOpen) throw closed();
    return this.#handOver(child, false);
  }

  async drain(): Promise<void> {
    this.#isOpen = false;
    clearInterval(this.#timer);
    clearTimeout(this.#again);
    while (this.#starts.size > 0) await Promise.all(this.#starts);
    await Promise.all([...this.#parked.keys()].map((id) => this.#retire(id, 'drained')));
    this.#settled();
  }

  async close(): Promise<void> {
    await Promise.all([this.drain(), ...[...this.#live].map((child) => this.#end(child))]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  #handOver(child: ForkedChild, wasParked: boolean): PooledClone {
    this.#live.add(child);
    void child.wait().then(() => {
      this.#live.delete(child);
      return removeClone(this.#parts.maker.places, child.id);
    });
    const { id, addresses, stdin, stdout, stderr } = child;
    return {
      id,
      wasParked,
      addresses,
      stdin,
      stdout,
      stderr,
      kill: (signal) => child.kill(signal),
      wait: async () => await child.wait(),
    };
  }

  /** Looks whether clones still stand, and how much memory they have. */
  async #check(): Promise<void> {
    await Promise.all([...this.#parked.values()].map((parked) => parked.measure()));
    this.#fill();
  }

  #plan(): PoolPlan {
    return planPool(this.#parts.bounds, {
      parked: [...this.#parked].map(([id, { parkedAtMs, privateBytes, isHealthy }]) => ({
        id,
        parkedAtMs,
        privateBytes,
        isHealthy,
      })),
      starting: this.#starts.size,
      typicalBytes: this.#typicalBytes,
      failures: this.#failures,
      failedAtMs: this.#failedAtMs,
      nowMs: performance.now(),
    });
  }

  /** Does what the plan says. */
  #fill(): void {
    if (!this.#isOpen) return;
    const { retire, start, againInMs } = this.#plan();
    for (const { id, why } of retire) void this.#retire(id, why);
    for (let i = 0; i < start; i++) this.#park();
    clearTimeout(this.#again);
    if (againInMs !== null) this.#again = setTimeout(() => this.#fill(), againInMs).unref();
    this.#settled();
  }

  /** A restore beside the first steps of a clone that was just handed over would take them the processor. */
  #fillSoon(): void {
    clearTimeout(this.#again);
    this.#again = setTimeout(() => this.#fill(), REFILL_AFTER_MS);
  }

  #settled(): void {
    for (const tell of this.#onSettled) tell();
    this.#onSettled.clear();
  }

  /** Starts a clone that shall stand ready. */
  #park(): void {
    const began = performance.now();
    const starting = this.#parkOne().then(
      (id) => {
        this.#failures = 0;
        this.#lastError = undefined;
        this.#parts.onEvent({ type: 'parked', id, elapsedMs: performance.now() - began });
      },
      (cause: unknown) => {
        const error = cause instanceof Error ? cause : new Error(String(cause));
        this.#failures++;
        this.#failedAtMs = performance.now();
        this.#lastError = error;
        this.#parts.onEvent({ type: 'failed', error });
      },
    );
    const settled = starting.finally(() => {
      this.#starts.delete(settled);
      if (this.#isOpen) this.#fill();
      else this.#settled();
    });
    this.#starts.add(settled);
  }

  async #parkOne(): Promise<string> {
    const { maker, fifos, timeoutMs } = this.#parts;
    const child = await this.#start(true, [], {}, undefined);
    try {
      const parked = await Parked.at(child, maker.places.runs, fifos, timeoutMs);
      this.#parked.set(child.id, parked);
      this.#typicalBytes = parked.privateBytes;
      return child.id;
    } catch (error) {
      await this.#end(child);
      throw error;
    }
  }

  async #retire(id: string, why: 'dead' | 'old' | 'memory' | 'drained'): Promise<void> {
    const parked = this.#parked.get(id);
    if (parked === undefined) return;
    this.#parked.delete(id);
    parked.letGo();
    await this.#end(parked.child);
    this.#parts.onEvent({ type: 'retired', id, why });
  }

  async #end(child: ForkedChild): Promise<void> {
    child.kill('SIGKILL');
    await child.wait();
    await removeClone(this.#parts.maker.places, child.id);
  }

  /** Restores a clone and resolves once it is there. */
  async #start(
    isParked: boolean,
    args: readonly string[],
    env: Readonly<Record<string, string>>,
    signal: AbortSignal | undefined,
  ): Promise<ForkedChild> {
    const { maker, image, slots, stdio, timeoutMs } = this.#parts;
    const [id, index] = [newId(), this.#number++];
    const listen = { ...ownPorts(slots), ...numbered(this.#parts.listen, index) };
    return await bringClone(
      maker,
      { id, index, image, stdio, isParked, listen, args, env },
      { timeoutMs, signal },
    );
  }
}

/** `%i` in an address stands for the number of the clone. */
function numbered(given: Readonly<Record<string, string>>, index: number): Record<string, string> {
  return Object.fromEntries(
    Object.entries(given).map(([slot, address]) => [slot, address.replaceAll('%i', String(index))]),
  );
}

function closed(): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_POOL', 'the pool is closed');
}
