import * as fs from 'node:fs';
import type { Session } from 'node:inspector';
import type { Worker } from 'node:worker_threads';

import { CoreError } from './errors.ts';
import type { Reseeder } from './randomness.ts';

/**
 * The barrier stops every worker thread while a checkpoint is taken. The main thread reaches them through the in-process
 * inspector (domain NodeWorker), whose Runtime.evaluate interrupts endless loops and Atomics.wait as well. A worker
 * waits in a blocking open(2) of a FIFO, never in Atomics.wait: nested inside an interrupted Atomics.wait that aborts
 * Node 20 and hangs 22 and later.
 *
 * Words of the shared array: */
const GENERATION = 0; // odd while workers shall wait
const ARRIVALS = 2; // counts workers that come and go; the main thread waits for it to change
const MODE = 4; // what a worker does when it is let go
const FAILED = 6; // workers that could not reseed or take over the environment
const SEEDING = 5; // 1 while a thread reseeds: V8's --random-seed belongs to the whole process
const SLOT = 3; // counts the slots that were given away
const RESTORES = 7; // counts restores with new randomness
const FIRST_SLOT = 16; // from here one word per worker: the generation for which it waits, and minus that when it is let go
const SLOTS = 4096;
const FIRST_ID = FIRST_SLOT + SLOTS; // the thread ids of workers that chose their slot themselves, in the order of slots

/** Name of the environment data through which a worker gets what it needs. */
const KEY = 'forkpoint.barrier';
/** Longest time that the main thread stands still for its workers, when nothing else is asked for. */
export const PARK_LIMIT_MS = 5_000;
const RELEASE_LIMIT_MS = 10_000;
const ASK_AGAIN_MS = 20;
/** Patience of the first attempt; each further one has twice as much. */
const FIRST_ATTEMPT_MS = 200;
/** A worker without a barrier after this time is taken for one that the preload did not reach. */
const PRELOAD_AFTER_MS = 100;

/** What the main thread tells every worker thread when that starts. */
export interface WorkerData {
  readonly words: SharedArrayBuffer;
  readonly parkPath: string;
  readonly identityPath: string;
  readonly nativeDirectory: string | undefined;
  readonly keepsNativeMathRandom: boolean;
  /** Restores of the process when the worker was made: one that has seen fewer has randomness of before. */
  readonly restores: number;
}

/** What a worker does when it is let go. */
export type Release = 'continue' | 'restored' | 'restored-without-reseed';

const MODES: readonly Release[] = ['continue', 'restored', 'restored-without-reseed'];

interface AttachedWorker {
  readonly sessionId: string;
  readonly index: number;
  readonly name: string;
  /** Its id within the process; undefined where the inspector's title does not say. */
  readonly threadId: number | undefined;
}

type Listener = (message: {
  params: { sessionId: string; workerInfo: { title: string; url: string } };
}) => void;

/**
 * Counts live workers of this thread; nested ones end with the worker that made them. By the channel, which tells of a worker
 * at once: the event `worker` of `process` comes a turn later, too late for one that a before hook makes.
 */
export function countWorkers(): () => number {
  let live = 0;
  process.getBuiltinModule('node:diagnostics_channel').subscribe('worker_threads', (message) => {
    if (typeof message !== 'object' || message === null || !('worker' in message)) return;
    const { worker } = message as { worker: Worker };
    live++;
    worker.once('exit', () => live--);
  });
  return () => live;
}

/** Hands `data` to all worker threads that start from now on. */
export function announce(data: Omit<WorkerData, 'words' | 'restores'>): WorkerData {
  const words = new SharedArrayBuffer(4 * (FIRST_ID + SLOTS));
  const full: WorkerData = { ...data, words, restores: 0 };
  publish(full);
  return full;
}

function publish(data: WorkerData): void {
  process.getBuiltinModule('node:worker_threads').setEnvironmentData(KEY, Object.entries(data));
}

/** Returns what the main thread has announced, or undefined in a worker of a program that runs in no pod. */
export function announced(): WorkerData | undefined {
  const value: unknown = process.getBuiltinModule('node:worker_threads').getEnvironmentData(KEY);
  if (!Array.isArray(value)) return undefined;
  const fields: Record<string, unknown> = Object.fromEntries(value);
  const { words, parkPath, identityPath, nativeDirectory, keepsNativeMathRandom, restores } = fields;
  if (!(words instanceof SharedArrayBuffer)) return undefined;
  if (typeof parkPath !== 'string' || typeof identityPath !== 'string') return undefined;
  return {
    words,
    parkPath,
    identityPath,
    nativeDirectory: typeof nativeDirectory === 'string' ? nativeDirectory : undefined,
    keepsNativeMathRandom: keepsNativeMathRandom === true,
    restores: Number(restores),
  };
}

/** The main thread's side. */
export class Barrier {
  readonly #words: Int32Array;
  readonly #data: WorkerData;
  readonly #preload: string;
  #session: Session | undefined;
  #generation = -1;

  /** `preload` is the script that a worker without the library loads first. */
  constructor(data: WorkerData, preload: string) {
    this.#words = new Int32Array(data.words);
    this.#data = data;
    this.#preload = preload;
  }

  /**
   * Blocks until every worker thread waits. Throws CoreError ERR_FORKPOINT_WORKERS, which names the ones that did not
   * come within the time limit; all the others run again then.
   *
   * Workers come into being and end meanwhile, and one that is just being born may hear of the checkpoint before the
   * main thread hears of it. So an attempt that takes long is given up, all go on for a moment, and the next one looks
   * at the workers that there are then.
   */
  park(limitMs: number = PARK_LIMIT_MS): void {
    if (!fs.existsSync(this.#data.parkPath)) {
      throw new CoreError('ERR_FORKPOINT_WORKERS', `worker threads cannot wait: no ${this.#data.parkPath}`);
    }
    const startedAt = performance.now();
    for (let patienceMs = FIRST_ATTEMPT_MS; ; patienceMs *= 2) {
      const leftMs = limitMs - (performance.now() - startedAt);
      let missing: string[] = [];
      try {
        missing = this.#attempt(startedAt, Math.min(patienceMs, leftMs));
        if (missing.length === 0) return;
      } catch (error) {
        this.release('continue');
        throw error;
      }
      this.release('continue');
      if (patienceMs < leftMs) continue;
      const message = `worker threads did not stop within ${limitMs} ms: ${missing.join(', ')}`;
      throw new CoreError('ERR_FORKPOINT_WORKERS', message);
    }
  }

  /** Asks all workers to wait, for at most `patienceMs`. Returns the names of those that do not. */
  #attempt(startedAt: number, patienceMs: number): string[] {
    const words = this.#words;
    Atomics.store(words, MODE, 0);
    Atomics.store(words, FAILED, 0);
    this.#generation = Atomics.add(words, GENERATION, 1) + 1;
    const attemptAt = performance.now();
    const workers = this.#attach();
    if (workers.size > SLOTS) {
      const message = `a program may have ${SLOTS} worker threads, and not ${workers.size}`;
      throw new CoreError('ERR_FORKPOINT_WORKERS', message);
    }
    for (let askAgainAtMs = 0, complete = 0; ;) {
      const arrivals = Atomics.load(words, ARRIVALS);
      const newborn = this.#newborn();
      const missing = [...workers.values()].filter(
        ({ index, threadId }) =>
          Atomics.load(words, FIRST_SLOT + index) !== this.#generation && !newborn.has(threadId),
      );
      const spentMs = performance.now() - attemptAt;
      // Twice: one that is just being born is announced by an interrupt, which is served in between, and stops by itself.
      complete = missing.length === 0 ? complete + 1 : 0;
      if (complete > 1 || spentMs > patienceMs) return missing.map(({ name }) => name);
      if (complete > 0) continue;
      // Asked again and again, because a worker that is just starting has no barrier to call yet.
      if (spentMs >= askAgainAtMs) {
        const loadsPreload = performance.now() - startedAt > PRELOAD_AFTER_MS;
        for (const worker of missing) this.#interrupt(worker, loadsPreload);
        askAgainAtMs = spentMs + ASK_AGAIN_MS;
      }
      Atomics.wait(words, ARRIVALS, arrivals, ASK_AGAIN_MS);
    }
  }

  /**
   * Lets all workers go on and returns when they have, with their generators reseeded if they were restored.
   * Returns the number of workers in which that failed.
   */
  release(mode: Release): number {
    const words = this.#words;
    Atomics.store(words, MODE, MODES.indexOf(mode));
    // Workers that were on their way are to get new randomness when they are there, and later ones need not.
    if (mode === 'restored') publish({ ...this.#data, restores: Atomics.add(words, RESTORES, 1) + 1 });
    Atomics.add(words, GENERATION, 1);
    // O_RDWR on a FIFO does not block (fifo(7)). It is held until all are out, so that a late one passes as well.
    const fd = fs.openSync(this.#data.parkPath, fs.constants.O_RDWR);
    const deadline = performance.now() + RELEASE_LIMIT_MS;
    try {
      for (;;) {
        const arrivals = Atomics.load(words, ARRIVALS);
        const waiting = words
          .subarray(FIRST_SLOT, FIRST_ID)
          .filter((word) => word === this.#generation).length;
        if (waiting === 0 || performance.now() > deadline) return Atomics.load(words, FAILED) + waiting;
        Atomics.wait(words, ARRIVALS, arrivals, 100);
      }
    } finally {
      fs.closeSync(fd);
      this.#session?.disconnect();
      this.#session = undefined;
    }
  }

  /** Returns the slots of workers that wait since they were born, by thread id. */
  #newborn(): Map<number | undefined, number> {
    const slots = new Map<number | undefined, number>();
    for (let slot = 0; slot < SLOTS; slot++) {
      const id = Atomics.load(this.#words, FIRST_ID + slot);
      if (id !== 0 && Atomics.load(this.#words, FIRST_SLOT + slot) === this.#generation) slots.set(id, slot);
    }
    return slots;
  }

  /** A worker that has ended has nothing more to wait for; it may have been ended while it did. */
  #forget({ index, threadId }: AttachedWorker): void {
    for (const slot of [index, this.#newborn().get(threadId)]) {
      if (slot !== undefined) Atomics.store(this.#words, FIRST_SLOT + slot, 0);
    }
  }

  /** Returns all workers of the process, and keeps the list true; nested ones are reported to the main thread as well. */
  #attach(): Map<string, AttachedWorker> {
    const { Session } = process.getBuiltinModule('node:inspector');
    const session = new Session();
    this.#session = session;
    session.connect();
    const workers = new Map<string, AttachedWorker>();
    const onAttached: Listener = ({ params: { sessionId, workerInfo } }) => {
      const { title, url } = workerInfo;
      // `[worker 3] name`; src/node_worker.cc of Node 20 and later.
      const id = /^\[worker (\d+)\]/.exec(title)?.[1];
      workers.set(sessionId, {
        sessionId,
        index: nextSlot(this.#words),
        name: url === '' ? title : `${title} (${url})`,
        threadId: id === undefined ? undefined : Number(id),
      });
    };
    const onDetached: Listener = ({ params: { sessionId } }) => {
      const worker = workers.get(sessionId);
      if (worker !== undefined) this.#forget(worker);
      workers.delete(sessionId);
    };
    session.on('NodeWorker.attachedToWorker', onAttached);
    session.on('NodeWorker.detachedFromWorker', onDetached);
    // The events for workers that exist already are delivered before this call returns.
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    return workers;
  }

  /** Makes a worker call its barrier; does not wait for it. */
  #interrupt({ sessionId, index }: AttachedWorker, loadsPreload: boolean): void {
    const barrier = `globalThis[Symbol.for('${KEY}')]`;
    const preload = JSON.stringify(this.#preload);
    // A worker which the preload did not reach (its own `env` without NODE_OPTIONS) loads it now.
    const load = `process.getBuiltinModule('node:module').createRequire(${preload})(${preload})`;
    const loadOnce = loadsPreload ? `${barrier} ?? (${HAS_BOOTED} && ${load}), ` : '';
    const expression = `${loadOnce}${barrier}?.(${this.#generation}, ${index})`;
    const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } });
    this.#session?.post('NodeWorker.sendMessageToWorker', { sessionId, message });
  }
}

/**
 * Tells whether Node has got the thread ready for the program's code: a module that is loaded earlier makes it abort
 * (setupUserModules in lib/internal/process/pre_execution.js of Node 20 and later asserts that there was none). The worker
 * is interrupted anywhere: with nothing but Node's own frames on the stack it may be on its way there.
 */
const HAS_BOOTED = `(() => {
  if (process.getBuiltinModule('node:worker_threads').parentPort === null) return false;
  const { prepareStackTrace, stackTraceLimit } = Error;
  try {
    Error.stackTraceLimit = Infinity;
    Error.prepareStackTrace = (_error, frames) => frames.map((frame) => frame.getFileName() ?? '');
    const here = {};
    Error.captureStackTrace(here);
    const files = here.stack.filter((file) => file !== '');
    return files.length === 0 || files.some((file) => !file.startsWith('node:'));
  } finally {
    Object.assign(Error, { prepareStackTrace, stackTraceLimit });
  }
})()`;

/** Gives away a slot that nobody else has had for a while: who comes too late cannot be taken for somebody else. */
function nextSlot(words: Int32Array): number {
  return (Atomics.add(words, SLOT, 1) >>> 0) % SLOTS;
}

/** Installs the worker's side in the calling worker thread, and waits there at once when a checkpoint is being taken. */
export function installInWorker(data: WorkerData, reseeder: Reseeder): void {
  const words = new Int32Array(data.words);
  let seen = 0;
  const { threadId } = process.getBuiltinModule('node:worker_threads');
  const barrier = (generation: number, index = nextSlot(words), id = 0): void => {
    if (seen === generation || Atomics.load(words, GENERATION) !== generation) return;
    seen = generation;
    Atomics.store(words, FIRST_ID + index, id);
    const arrive = (word: number): void => {
      Atomics.store(words, FIRST_SLOT + index, word);
      Atomics.add(words, ARRIVALS, 1);
      Atomics.notify(words, ARRIVALS);
    };
    arrive(generation);
    try {
      // Looked at again after saying so: now the main thread either waits for this worker or has moved on.
      if (Atomics.load(words, GENERATION) === generation) {
        fs.closeSync(fs.openSync(data.parkPath, fs.constants.O_RDONLY));
      }
      wake(MODES[Atomics.load(words, MODE)] ?? 'continue', words, data, reseeder);
    } catch {
      // There is nobody in this thread to tell; the main thread reports the number.
      Atomics.add(words, FAILED, 1);
    } finally {
      arrive(-generation);
    }
  };
  Object.defineProperty(globalThis, Symbol.for(KEY), { value: barrier, configurable: true });
  const generation = Atomics.load(words, GENERATION);
  if (generation % 2 !== 0) barrier(generation, undefined, threadId);
  // Made before a restore and ready only after it: its generators are those of the image.
  else if (Atomics.load(words, RESTORES) !== data.restores) wake('restored', words, data, reseeder);
}

function wake(mode: Release, words: Int32Array, data: WorkerData, reseeder: Reseeder): void {
  if (mode === 'continue') return;
  if (mode === 'restored') {
    // Spins: Atomics.wait is not allowed here, and the other thread is done in milliseconds.
    while (Atomics.compareExchange(words, SEEDING, 0, 1) !== 0);
    try {
      reseeder.thread();
    } finally {
      Atomics.store(words, SEEDING, 0);
    }
  }
  const identity: unknown = JSON.parse(fs.readFileSync(data.identityPath, 'utf8'));
  if (typeof identity !== 'object' || identity === null || !('env' in identity)) return;
  if (typeof identity.env !== 'object' || identity.env === null) return;
  for (const [name, value] of Object.entries(identity.env)) process.env[name] = String(value);
}
