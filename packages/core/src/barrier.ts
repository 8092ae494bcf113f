import * as fs from 'node:fs';
import type { Session } from 'node:inspector';

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
const PARKED = 2;
const RELEASED = 3;
const MODE = 4; // what a worker does when it is let go
const FAILED = 6; // workers that could not reseed or take over the environment
const SEEDING = 5; // 1 while a thread reseeds: V8's --random-seed belongs to the whole process
const FIRST_SLOT = 16; // from here one word per direct worker, 1 when it is parked
const SLOTS = 4096;

/** Name of the environment data through which a worker gets what it needs. */
const KEY = 'forkpoint.barrier';
/** Longest time that the main thread stands still for its workers, when nothing else is asked for. */
export const PARK_LIMIT_MS = 5_000;
const RELEASE_LIMIT_MS = 10_000;
const ASK_AGAIN_MS = 20;
/** A worker without a barrier after this time is taken for one that the preload did not reach. */
const PRELOAD_AFTER_MS = 100;

/** What the main thread tells every worker thread when that starts. */
export interface WorkerData {
  readonly words: SharedArrayBuffer;
  readonly parkPath: string;
  readonly identityPath: string;
  readonly nativeDirectory: string | undefined;
  readonly keepsNativeMathRandom: boolean;
}

/** What a worker does when it is let go. */
export type Release = 'continue' | 'restored' | 'restored-without-reseed';

const MODES: readonly Release[] = ['continue', 'restored', 'restored-without-reseed'];

interface AttachedWorker {
  readonly sessionId: string;
  readonly index: number;
  readonly name: string;
}

type Listener = (message: {
  params: { sessionId: string; workerInfo: { title: string; url: string } };
}) => void;

/** Counts live workers of this thread; nested ones end with the worker that made them. */
export function countWorkers(): () => number {
  let live = 0;
  process.on('worker', (worker) => {
    live++;
    worker.once('exit', () => live--);
  });
  return () => live;
}

/** Hands `data` to all worker threads that start from now on. */
export function announce(data: Omit<WorkerData, 'words'>): WorkerData {
  const words = new SharedArrayBuffer(4 * (FIRST_SLOT + SLOTS));
  const full: WorkerData = { ...data, words };
  process.getBuiltinModule('node:worker_threads').setEnvironmentData(KEY, Object.entries(full));
  return full;
}

/** Returns what the main thread has announced, or undefined in a worker of a program that runs in no pod. */
export function announced(): WorkerData | undefined {
  const value: unknown = process.getBuiltinModule('node:worker_threads').getEnvironmentData(KEY);
  if (!Array.isArray(value)) return undefined;
  const fields: Record<string, unknown> = Object.fromEntries(value);
  const { words, parkPath, identityPath, nativeDirectory, keepsNativeMathRandom } = fields;
  if (!(words instanceof SharedArrayBuffer)) return undefined;
  if (typeof parkPath !== 'string' || typeof identityPath !== 'string') return undefined;
  return {
    words,
    parkPath,
    identityPath,
    nativeDirectory: typeof nativeDirectory === 'string' ? nativeDirectory : undefined,
    keepsNativeMathRandom: keepsNativeMathRandom === true,
  };
}

/** The main thread's side. */
export class Barrier {
  readonly #words: Int32Array;
  readonly #data: WorkerData;
  readonly #preload: string;
  #session: Session | undefined;

  /** `preload` is the script that a worker without the library loads first. */
  constructor(data: WorkerData, preload: string) {
    this.#words = new Int32Array(data.words);
    this.#data = data;
    this.#preload = preload;
  }

  /**
   * Blocks until every worker thread waits. Throws CoreError ERR_FORKPOINT_WORKERS, which names the ones that did not
   * come within the time limit; all the others run again then.
   */
  park(limitMs: number = PARK_LIMIT_MS): void {
    const words = this.#words;
    if (!fs.existsSync(this.#data.parkPath)) {
      throw new CoreError('ERR_FORKPOINT_WORKERS', `worker threads cannot wait: no ${this.#data.parkPath}`);
    }
    for (const word of [PARKED, RELEASED, MODE, FAILED]) Atomics.store(words, word, 0);
    words.fill(0, FIRST_SLOT);
    const generation = Atomics.add(words, GENERATION, 1) + 1;
    const startedAt = performance.now();
    let askAgainAtMs = 0;
    try {
      const workers = this.#attach();
      for (let complete = 0; ;) {
        const parked = Atomics.load(words, PARKED);
        // Twice: one that is just being born is announced by an interrupt, which is served in between, and stops by itself.
        complete = parked >= workers.length ? complete + 1 : 0;
        if (complete > 1) return;
        if (complete > 0) continue;
        const spentMs = performance.now() - startedAt;
        if (spentMs > limitMs) throw notParked(workers, words, limitMs);
        // Asked again and again, because a worker that is just starting has no barrier to call yet.
        if (spentMs >= askAgainAtMs) {
          for (const worker of workers) this.#interrupt(worker, generation, spentMs > PRELOAD_AFTER_MS);
          askAgainAtMs = spentMs + ASK_AGAIN_MS;
        }
        Atomics.wait(words, PARKED, parked, ASK_AGAIN_MS);
      }
    } catch (error) {
      this.release('continue');
      throw error;
    }
  }

  /**
   * Lets all workers go on and returns when they have, with their generators reseeded if they were restored.
   * Returns the number of workers in which that failed.
   */
  release(mode: Release): number {
    const words = this.#words;
    Atomics.store(words, MODE, MODES.indexOf(mode));
    Atomics.add(words, GENERATION, 1);
    // O_RDWR on a FIFO does not block (fifo(7)). It is held until all are out, so that a late one passes as well.
    const fd = fs.openSync(this.#data.parkPath, fs.constants.O_RDWR);
    const deadline = performance.now() + RELEASE_LIMIT_MS;
    try {
      for (;;) {
        const released = Atomics.load(words, RELEASED);
        if (released >= Atomics.load(words, PARKED) || performance.now() > deadline) break;
        Atomics.wait(words, RELEASED, released, 100);
      }
      return Atomics.load(words, FAILED) + Atomics.load(words, PARKED) - Atomics.load(words, RELEASED);
    } finally {
      fs.closeSync(fd);
      this.#session?.disconnect();
      this.#session = undefined;
    }
  }

  /** Returns all workers of the process; nested ones are reported to the main thread as well. */
  #attach(): AttachedWorker[] {
    const { Session } = process.getBuiltinModule('node:inspector');
    const session = new Session();
    this.#session = session;
    session.connect();
    const workers: AttachedWorker[] = [];
    const onAttached: Listener = ({ params: { sessionId, workerInfo } }) => {
      const { title, url } = workerInfo;
      workers.push({ sessionId, index: workers.length, name: url === '' ? title : `${title} (${url})` });
    };
    session.on('NodeWorker.attachedToWorker', onAttached);
    // The events for workers that exist already are delivered before this call returns.
    session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
    return workers;
  }

  /** Makes a worker call its barrier; does not wait for it. */
  #interrupt({ sessionId, index }: AttachedWorker, generation: number, loadsPreload: boolean): void {
    if (isParked(this.#words, index)) return;
    const barrier = `globalThis[Symbol.for('${KEY}')]`;
    const preload = JSON.stringify(this.#preload);
    // A worker which the preload did not reach (its own `env` without NODE_OPTIONS) loads it now.
    const load = `process.getBuiltinModule('node:module').createRequire(${preload})(${preload})`;
    const expression = `${loadsPreload ? `${barrier} ?? ${load}, ` : ''}${barrier}(${generation}, ${index})`;
    const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } });
    this.#session?.post('NodeWorker.sendMessageToWorker', { sessionId, message });
  }
}

/** Installs the worker's side in the calling worker thread. */
export function installInWorker(data: WorkerData, reseeder: Reseeder): void {
  const words = new Int32Array(data.words);
  let seen = 0;
  const barrier = (generation: number, index: number): void => {
    if (seen === generation || Atomics.load(words, GENERATION) !== generation) return;
    seen = generation;
    if (index >= 0 && index < SLOTS) Atomics.store(words, FIRST_SLOT + index, 1);
    Atomics.add(words, PARKED, 1);
    Atomics.notify(words, PARKED);
    try {
      // Looked at again after counting itself: now the main thread either waits for this worker or has moved on.
      if (Atomics.load(words, GENERATION) === generation) {
        fs.closeSync(fs.openSync(data.parkPath, fs.constants.O_RDONLY));
      }
      wake(MODES[Atomics.load(words, MODE)] ?? 'continue', words, data, reseeder);
    } catch {
      // There is nobody in this thread to tell; the main thread reports the number.
      Atomics.add(words, FAILED, 1);
    } finally {
      Atomics.add(words, RELEASED, 1);
      Atomics.notify(words, RELEASED);
    }
  };
  Object.defineProperty(globalThis, Symbol.for(KEY), { value: barrier, configurable: true });
  // Born while the others stop already, before the main thread could hear of it.
  const generation = Atomics.load(words, GENERATION);
  if (generation % 2 === 1) barrier(generation, -1);
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

function isParked(words: Int32Array, index: number): boolean {
  return Atomics.load(words, FIRST_SLOT + index) !== 0;
}

function notParked(workers: readonly AttachedWorker[], words: Int32Array, limitMs: number): CoreError {
  const missing = workers.filter(({ index }) => !isParked(words, index)).map(({ name }) => name);
  const message = `worker threads did not stop within ${limitMs} ms: ${missing.join(', ')}`;
  return new CoreError('ERR_FORKPOINT_WORKERS', message);
}
