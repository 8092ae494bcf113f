import assert from 'node:assert/strict';
import { DEFAULT_POLICY, initialState, next, readyWorkers } from '../src/refork/index.ts';
import type {
  ReforkAction,
  ReforkEvent,
  ReforkPolicy,
  ReforkState,
  WorkerReport,
} from '../src/refork/index.ts';

/** How often things go wrong in a world, from 0 to 1; per start, image, or second of a worker's life. */
export interface Trouble {
  readonly bootFails: number;
  readonly captureFails: number;
  readonly startFails: number;
  readonly neverReady: number;
  readonly crashes: number;
  readonly hangs: number;
  readonly stubborn: number;
}

export const CALM: Trouble = {
  bootFails: 0,
  captureFails: 0,
  startFails: 0,
  neverReady: 0,
  crashes: 0,
  hangs: 0,
  stubborn: 0,
};

interface Body {
  requests: number;
  hungSince: number | null;
  bytes: number;
  isDraining: boolean;
  isStubborn: boolean;
}

const MEGABYTE = 1 << 20;

/** A simulated machine with a clock of its own: it carries out the actions, and lets things go wrong. */
export class World {
  state: ReforkState;
  now = 0;
  trouble: Trouble = CALM;
  /** Requests per second of each worker. */
  load = 1;
  readonly log: string[] = [];
  readonly seen = new Set<string>();
  exitCode: number | null = null;
  readonly #queue: { readonly at: number; readonly event: ReforkEvent; readonly making?: number }[] = [];
  readonly #bodies = new Map<number, Body>();
  readonly #random: () => number;
  #making = 0;

  constructor(seed: number, policy: Partial<ReforkPolicy> = {}, fromImage = false) {
    this.#random = mulberry32(seed);
    this.state = initialState(
      { ...DEFAULT_POLICY, ...policy },
      0,
      fromImage ? { bytes: 40 * MEGABYTE } : null,
    );
  }

  /** A number between 0 and 1, the same for the same seed. */
  random(): number {
    return this.#random();
  }

  /** Lets an event happen now. */
  feed(event: ReforkEvent): readonly ReforkAction[] {
    const before = this.state;
    const slots = servingSlots(before);
    const [state, actions] = next(before, event, this.now);
    this.state = state;
    check(before, slots, state, event, actions);
    for (const { phase } of state.workers) this.seen.add(phase);
    this.seen.add(state.phase);
    if (state.making !== null) this.seen.add(state.making.kind);
    for (const action of actions) this.#carryOut(action);
    return actions;
  }

  /** Lets time pass. */
  run(ms: number): void {
    const until = this.now + ms;
    while (this.now < until && this.exitCode === null) {
      this.now = Math.min(until, this.now + 200 + Math.floor(this.#random() * 4800));
      this.#deliver();
      this.#live();
      this.feed({ type: 'tick' });
    }
  }

  /** Ends a worker as if from outside. */
  crash(worker: number): void {
    if (!this.#bodies.delete(worker)) return;
    this.feed({ type: 'exited', worker, how: 'by SIGKILL' });
  }

  #deliver(): void {
    const due = this.#queue.filter(({ at }) => at <= this.now).sort((a, b) => a.at - b.at);
    for (const entry of due) {
      this.#queue.splice(this.#queue.indexOf(entry), 1);
      if (entry.making !== undefined && entry.making !== this.#making) continue;
      const worker = 'worker' in entry.event ? entry.event.worker : undefined;
      if (worker !== undefined && !this.#bodies.has(worker)) continue;
      if (entry.event.type === 'exited') this.#bodies.delete(entry.event.worker);
      this.feed(entry.event);
    }
  }

  #live(): void {
    const { trouble } = this;
    const reports: WorkerReport[] = [];
    for (const worker of this.state.workers) {
      const body = this.#bodies.get(worker.id);
      if (body === undefined || worker.phase === 'starting' || worker.phase === 'ending') continue;
      if (this.#random() < trouble.crashes) {
        this.crash(worker.id);
        continue;
      }
      if (worker.phase !== 'ready') continue;
      if (body.hungSince === null && this.#random() < trouble.hangs) body.hungSince = this.now;
      body.requests += this.load;
      body.bytes += 10_000 * this.load;
      reports.push({
        worker: worker.id,
        requests: body.requests,
        oldestMs: body.hungSince === null ? 0 : this.now - body.hungSince,
        privateBytes: body.bytes,
        // A runtime compiles less and less.
        codeBytes: MEGABYTE + MEGABYTE * Math.log1p(body.requests),
      });
    }
    if (reports.length > 0) this.feed({ type: 'heard', reports });
  }

  #later(ms: number, event: ReforkEvent, making?: number): void {
    this.#queue.push({ at: this.now + ms, event, ...(making === undefined ? {} : { making }) });
  }

  #carryOut(action: ReforkAction): void {
    const chance = this.#random();
    switch (action.type) {
      case 'boot':
      case 'capture': {
        const fails = action.type === 'boot' ? this.trouble.bootFails : this.trouble.captureFails;
        const made: ReforkEvent = {
          type: 'made',
          bytes: (30 + Math.floor(chance * 20)) * MEGABYTE,
          source: action.type,
        };
        const event: ReforkEvent =
          this.#random() < fails ? { type: 'makingFailed', reason: 'bad luck' } : made;
        this.#making++;
        return this.#later(action.type === 'boot' ? 1500 : 400, event, this.#making);
      }
      case 'abandon':
        this.#making++;
        return;
      case 'start': {
        const { worker } = action;
        this.#bodies.set(worker, {
          requests: 0,
          hungSince: null,
          bytes: MEGABYTE,
          isDraining: false,
          isStubborn: this.#random() < this.trouble.stubborn,
        });
        if (chance < this.trouble.startFails) this.#later(50, { type: 'exited', worker, how: 'with code 1' });
        else if (this.#random() >= this.trouble.neverReady) this.#later(80, { type: 'ready', worker });
        return;
      }
      case 'drain': {
        const { worker } = action;
        if (this.#bodies.get(worker)?.isStubborn !== true)
          this.#later(chance * 2000, { type: 'drained', worker });
        return;
      }
      case 'end': {
        const { worker, signal } = action;
        if (signal === 'SIGKILL' || this.#bodies.get(worker)?.isStubborn !== true)
          this.#later(20, { type: 'exited', worker, how: `by ${signal}` });
        return;
      }
      case 'log':
        // Kept short: an hour of trouble has a lot to say.
        if (this.log.length < 1000) this.log.push(action.text);
        return;
      case 'exit':
        this.exitCode = action.code;
        return;
      case 'remove':
        return;
    }
  }
}

function servingSlots(state: ReforkState): Set<number> {
  return new Set(readyWorkers(state).map(({ slot }) => slot));
}

/** What must hold after every step. */
function check(
  before: ReforkState,
  slotsBefore: ReadonlySet<number>,
  after: ReforkState,
  event: ReforkEvent,
  actions: readonly ReforkAction[],
): void {
  const { workers } = after.policy;
  assert.ok(after.workers.length <= 2 * workers + after.policy.drainsAtOnce, 'workers are limited');
  assert.ok(after.molds.length <= 3, 'images are limited');
  assert.ok(actions.length <= 8 * workers + 8, 'actions are limited');
  if (after.phase !== 'serving') return;
  const draining = after.workers.filter(({ phase }) => phase === 'draining').length;
  assert.ok(draining <= after.policy.drainsAtOnce, 'draining workers are limited');
  // Whoever was killed for being hung, or died by itself, was not healthy.
  const killed = actions.filter(({ type }) => type === 'end').length;
  const lost = killed + (event.type === 'exited' ? 1 : 0);
  const floor = Math.min(slotsBefore.size, workers - 1) - lost;
  const slots = servingSlots(after);
  if (slots.size < floor) {
    const what = JSON.stringify({ event, actions, before: before.workers, after: after.workers });
    assert.fail(`${slots.size} of ${workers} workers serve: ${what}`);
  }
}

/** A small generator of pseudo-random numbers. */
function mulberry32(seed: number): () => number {
  let state = seed | 0;
  return () => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), 1 | state);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), 61 | mixed)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}

const HOUR_MS = 3_600_000;

/** Whether everybody serves, from one image of code that has proved itself. */
function isSettled(state: ReforkState): boolean {
  const images = new Set(readyWorkers(state).map(({ image }) => image));
  return (
    servingSlots(state).size === state.policy.workers &&
    images.size === 1 &&
    state.release === state.provenRelease
  );
}

/** One hour of a server's life under random events, then peace, then its end. Returns what it has been through. */
export function liveAnHour(seed: number, ms = HOUR_MS): ReadonlySet<string> {
  const dice = mulberry32(seed ^ 0x5eed);
  const world = new World(
    seed,
    {
      workers: 1 + Math.floor(dice() * 8),
      thresholds: dice() < 0.2 ? [] : [50, 100, 1000],
      reforkAfterMs: dice() < 0.5 ? 600_000 : null,
      reforkAfterGrowth: dice() < 0.3 ? 20 * MEGABYTE : null,
      reforkWhenWarmMs: dice() < 0.3 ? 20_000 : null,
      memoryLimit: dice() < 0.3 ? 40 * MEGABYTE : null,
      diskLimit: dice() < 0.3 ? 110 * MEGABYTE : null,
    },
    dice() < 0.5,
  );
  world.run(5000);
  while (world.now < ms && world.exitCode === null) {
    const often = dice() < 0.3 ? 0.5 : 0.05;
    world.load = Math.floor(dice() * 20);
    world.trouble = {
      bootFails: dice() * often,
      captureFails: dice() * often,
      startFails: dice() * often,
      neverReady: dice() * often,
      crashes: (dice() * often) / 10,
      hangs: (dice() * often) / 100,
      stubborn: dice() * often,
    };
    world.run(30_000 + dice() * 300_000);
    if (dice() < 0.2) world.feed({ type: 'reload' });
    if (dice() < 0.2) world.feed({ type: 'refork' });
  }
  // Once the trouble is over, everybody serves, and from one image.
  world.trouble = CALM;
  world.load = 0;
  const limit = world.now + world.state.policy.workers * 60_000 + 300_000;
  while (world.exitCode === null && world.now < limit && !isSettled(world.state)) world.run(10_000);
  if (world.exitCode === null) {
    assert.ok(isSettled(world.state), `seed ${seed} does not settle: ${JSON.stringify(world.state)}`);
    world.feed({ type: 'stop' });
    world.run(120_000);
  }
  assert.notEqual(world.exitCode, null, `seed ${seed}: it did not end`);
  return world.seen;
}
