import * as fs from 'node:fs';

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
const EXPECTED = 1; // nested workers found by workers
const PARKED = 2;
const RELEASED = 3;
const MODE = 4; // what a worker does when it is let go
const FAILED = 6; // workers that could not reseed or take over the environment
const SEEDING = 5; // 1 while a thread reseeds: V8's --random-seed belongs to the whole process
const FIRST_SLOT = 16; // from here one word per direct worker, 1 when it is parked
const SLOTS = 4096;

/** Name of the environment data through which a worker gets what it needs. */
const KEY = 'forkpoint.barrier';
const PARK_LIMIT_MS = 5_000;
const RELEASE_LIMIT_MS = 10_000;

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

type Listener = (message: {
  params: { sessionId: string; workerInfo: { title: string; url: string } };
}) => void;

/** Counts live workers of this thread; nested ones are the business of the worker that made them. */
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
  #session: { disconnect: () => void } | undefined;

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
    for (const word of [EXPECTED, PARKED, RELEASED, MODE, FAILED]) Atomics.store(words, word, 0);
    words.fill(0, FIRST_SLOT);
    const generation = Atomics.add(words, GENERATION, 1) + 1;
    const deadline = performance.now() + limitMs;
    try {
      const names = this.#interrupt(generation);
      for (;;) {
        const parked = Atomics.load(words, PARKED);
        // A worker adds its own workers to EXPECTED before it counts itself as parked.
        if (parked >= names.length + Atomics.load(words, EXPECTED)) return;
        const leftMs = deadline - performance.now();
        if (leftMs <= 0) throw notParked(names, words, limitMs);
        Atomics.wait(words, PARKED, parked, leftMs);
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

  #interrupt(generation: number): string[] {
    // Also for workers which the preload did not reach (execArgv, or NODE_OPTIONS taken away): they load it now.
    const load = `process.getBuiltinModule('node:module').createRequire(${JSON.stringify(this.#preload)})`;
    const attached = interruptWorkers((index) => {
      const call = `globalThis[Symbol.for('${KEY}')]`;
      return `(${call} ?? (${load}(${JSON.stringify(this.#preload)}), ${call}))(${generation}, ${index})`;
    });
    this.#session = attached.session;
    return attached.names;
  }
}

/** Installs the worker's side in the calling worker thread. */
export function installInWorker(data: WorkerData, reseeder: Reseeder, liveWorkers: () => number): void {
  const words = new Int32Array(data.words);
  const barrier = (generation: number, index: number): void => {
    if (Atomics.load(words, GENERATION) !== generation) return;
    const nested = liveWorkers() > 0 ? parkNested(words, generation) : undefined;
    if (index >= 0 && index < SLOTS) Atomics.store(words, FIRST_SLOT + index, 1);
    Atomics.add(words, PARKED, 1);
    Atomics.notify(words, PARKED);
    try {
      // Looked at again after counting itself: now the main thread either waits for this worker or has moved on.
      if (Atomics.load(words, GENERATION) === generation) {
        fs.closeSync(fs.openSync(data.parkPath, fs.constants.O_RDONLY));
      }
      nested?.disconnect();
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

function parkNested(words: Int32Array, generation: number): { disconnect: () => void } {
  const { session, names } = interruptWorkers(() => `globalThis[Symbol.for('${KEY}')](${generation}, -1)`);
  Atomics.add(words, EXPECTED, names.length);
  return session;
}

/** Evaluates an expression in every worker of this thread and returns their names; does not wait for the result. */
function interruptWorkers(expressionOf: (index: number) => string) {
  const { Session } = process.getBuiltinModule('node:inspector');
  const session = new Session();
  session.connect();
  const names: string[] = [];
  const onAttached: Listener = ({ params: { sessionId, workerInfo } }) => {
    const expression = expressionOf(names.length);
    names.push(`${workerInfo.title} (${workerInfo.url})`);
    const message = JSON.stringify({ id: 1, method: 'Runtime.evaluate', params: { expression } });
    session.post('NodeWorker.sendMessageToWorker', { sessionId, message });
  };
  session.on('NodeWorker.attachedToWorker', onAttached);
  // The events for workers that exist already are delivered before this call returns.
  session.post('NodeWorker.enable', { waitForDebuggerOnStart: false });
  return { session, names };
}

function notParked(names: readonly string[], words: Int32Array, limitMs: number): CoreError {
  const missing = names.filter((_, index) => Atomics.load(words, FIRST_SLOT + index) === 0);
  const who = missing.length > 0 ? missing.join(', ') : 'a nested worker';
  return new CoreError('ERR_FORKPOINT_WORKERS', `worker threads did not stop within ${limitMs} ms: ${who}`);
}
