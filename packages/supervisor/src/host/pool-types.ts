// What programs see of a pool. Published as it is, like types.ts.
import type { Readable, Writable } from 'node:stream';
import type { HostOptions } from './types.ts';

/** What a pool holds, and within which bounds. */
export interface PoolOptions extends HostOptions {
  /** A name in the store or a path; of a program of Node.js, Java, Python or Ruby that had loaded its client; not taken with `--uncoordinated`. */
  readonly image: string;
  /** Clones that stand ready; 2 by default, at most 1000. */
  readonly size?: number | undefined;
  /** Private memory of all clones that stand ready, in bytes; no limit by default. */
  readonly maxMemoryBytes?: number | undefined;
  /** A clone that has stood for so many milliseconds is replaced; an hour by default. */
  readonly maxAgeMs?: number | undefined;
  /** How often to see whether they still stand, in milliseconds; 1000 by default. */
  readonly checkMs?: number | undefined;
  /** Streams of clones: `pipe` (the default), the `log` of their run, or `ignore`. */
  readonly stdio?: 'pipe' | 'log' | 'ignore' | undefined;
  /**
   * Where clones listen, by slot; `%i` stands for the clone's number. By default a TCP slot gets a port of its own on the
   * image's address: the clone's `addresses` has it.
   */
  readonly listen?: Readonly<Record<string, string>> | undefined;
  /** Environment variables of all clones. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Longest time for a clone to be there, in milliseconds; 30000 by default. */
  readonly timeoutMs?: number | undefined;
  /** Told of what happens in the background. */
  readonly onEvent?: ((event: PoolEvent) => void) | undefined;
}

/** Something that happened in a pool. */
export type PoolEvent =
  | { readonly type: 'parked'; readonly id: string; readonly elapsedMs: number }
  | { readonly type: 'retired'; readonly id: string; readonly why: 'dead' | 'old' | 'memory' | 'drained' }
  | { readonly type: 'failed'; readonly error: Error };

/** How a clone is handed over. */
export interface AcquireOptions {
  readonly args?: readonly string[] | undefined;
  /** Beside the pool's own variables. */
  readonly env?: Readonly<Record<string, string>> | undefined;
  readonly signal?: AbortSignal | undefined;
}

/** A clone that was handed over; it ends with the process that has the pool. */
export interface PooledClone {
  /** Id of its run. */
  readonly id: string;
  /** Whether it stood ready; false when it had to be restored. */
  readonly wasParked: boolean;
  /** Where it listens, by slot. */
  readonly addresses: ReadonlyMap<string, string>;
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  kill(signal?: NodeJS.Signals): void;
  wait(): Promise<{ code: number | null; signal: string | null }>;
}

/** Clones that stand ready: restored, with randomness of their own, blocked right before their first line. */
export interface Pool extends AsyncDisposable {
  /** Clones that stand ready, that are on their way there, and that were handed over and live. */
  readonly counts: { readonly parked: number; readonly starting: number; readonly live: number };
  /** Resolves once `size` clones stand ready, or as many as fit; rejects with the reason when none can be started. */
  ready(): Promise<void>;
  /** Hands a clone over: one that stands ready, else one that is restored now. */
  acquire(options?: AcquireOptions): Promise<PooledClone>;
  /** Ends the clones that stand ready and starts no more; those that were handed over live on. */
  drain(): Promise<void>;
  /** Drains, and ends the clones that were handed over. */
  close(): Promise<void>;
}
