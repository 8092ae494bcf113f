import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { LEVEL, loadCodec } from './codec.ts';
import type { Codec } from './codec.ts';
import { StoreError } from './error.ts';

/** Compresses and decompresses chunks, several at once. */
export interface CodecPool {
  /** Chunks that may be under way at once without one waiting for another. */
  readonly width: number;
  compress(source: Uint8Array): Promise<Uint8Array>;
  decompress(source: Uint8Array, length: number): Promise<Uint8Array>;
  close(): Promise<void>;
}

interface Job {
  readonly resolve: (bytes: Uint8Array) => void;
  readonly reject: (error: unknown) => void;
}

/** More threads than this only wait for the disk. */
const MAX_THREADS = 8;

/** Returns a pool for so many chunks: with threads when it is worth starting them. Throws ERR_FORKPOINT_CODEC. */
export function openCodecPool(addon: string, chunks: number): CodecPool {
  // A thread takes 30 ms to start, in which this one packs 20 chunks.
  const threads = Math.min(availableParallelism(), MAX_THREADS, Math.floor(chunks / 24));
  const codec = loadCodec(addon);
  // Threads load the addon by its path; node:zlib's zstd has threads of its own only in its asynchronous form.
  return threads < 2 || codec.name !== 'libzstd' ? inlinePool(codec) : threadPool(addon, threads);
}

function inlinePool(codec: Codec): CodecPool {
  // Signals and timers have their turn between two chunks.
  const turn = async (): Promise<void> => await new Promise<void>((resolve) => setImmediate(resolve));
  return {
    width: 1,
    compress: async (source) => {
      await turn();
      return codec.compress(source, LEVEL);
    },
    decompress: async (source, length) => {
      await turn();
      return codec.decompress(source, length);
    },
    close: async () => await Promise.resolve(),
  };
}

// What a thread does: plain JavaScript, because the bundle has no file of its own for it.
const THREAD = `
const { parentPort, workerData } = require('node:worker_threads');
const module_ = { exports: {} };
process.dlopen(module_, workerData.addon);
const zstd = module_.exports;
parentPort.on('message', ({ source, length }) => {
  try {
    const target = new Uint8Array(length === null ? source.length + (source.length >> 8) + 128 : length);
    const count = length === null ? zstd.compress(source, target, workerData.level) : zstd.decompress(source, target);
    if (length !== null && count !== length) throw new Error('a chunk holds ' + count + ' bytes instead of ' + length);
    parentPort.postMessage({ bytes: target.subarray(0, count) }, [target.buffer]);
  } catch (error) {
    parentPort.postMessage({ message: String(error.message) });
  }
});
`;

function threadPool(addon: string, count: number): CodecPool {
  const workers = Array.from({ length: count }, () => {
    const worker = new Worker(THREAD, { eval: true, workerData: { addon, level: LEVEL }, execArgv: [] });
    const jobs: Job[] = [];
    const fail = (error: unknown): void => jobs.splice(0).forEach(({ reject }) => reject(error));
    worker.on('message', (answer: { bytes?: Uint8Array; message?: string }) => {
      const job = jobs.shift();
      if (answer.bytes !== undefined) job?.resolve(answer.bytes);
      else job?.reject(new StoreError('ERR_FORKPOINT_CODEC', `a chunk is damaged: ${answer.message ?? ''}`));
    });
    worker.on('error', fail);
    worker.on('exit', () => fail(new StoreError('ERR_FORKPOINT_CODEC', 'a thread that packs has ended')));
    return { worker, jobs };
  });
  const send = async (source: Uint8Array, length: number | null): Promise<Uint8Array> => {
    const least = workers.reduce((one, other) => (other.jobs.length < one.jobs.length ? other : one));
    return await new Promise((resolve, reject) => {
      least.jobs.push({ resolve, reject });
      // oxlint-disable-next-line unicorn/require-post-message-target-origin -- a thread is no window
      least.worker.postMessage({ source, length });
    });
  };
  return {
    width: count * 2,
    compress: async (source) => await send(source, null),
    decompress: send,
    close: async () => {
      await Promise.all(workers.map(async ({ worker }) => await worker.terminate()));
    },
  };
}
