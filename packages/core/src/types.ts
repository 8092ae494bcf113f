import type { Readable, Writable } from 'node:stream';

/** What a program knows about the run it lives in; given to every hook. */
export interface HookContext {
  /** Id of the run; a restored process has a new one. */
  readonly id: string;
  /** Directory of the image this run was restored from, or null when it was started by `forkpoint run`. */
  readonly image: string | null;
  /** Id of the run the image was taken from, or null. */
  readonly parentId: string | null;
  /** Number of restores behind this run: 0 for one that was never restored. */
  readonly generation: number;
  /** Number of this clone among those made by one request, or null. */
  readonly index: number | null;
  /** Arguments given to `forkpoint restore` after `--`. */
  readonly args: readonly string[];
  /** Environment given to `forkpoint restore --env`; it has been applied to process.env already. */
  readonly env: Readonly<Record<string, string>>;
  /** Milliseconds that passed between the checkpoint and the restore; 0 in a run that was never restored. */
  readonly elapsedMs: number;
}

/** Something that must act around a checkpoint, such as a connection pool that closes and connects again. */
export interface Resource {
  /** Runs before the checkpoint; throwing or rejecting means that no image is made. */
  beforeCheckpoint(context: HookContext): void | Promise<void>;
  /** Runs after every checkpoint: in the restored process, and in the one that went on. */
  afterRestore(context: HookContext): void | Promise<void>;
}

/** How a resource is registered. */
export interface RegisterOptions {
  /** Time limit for each hook of this resource in milliseconds; 10000 unless given, Infinity for none. */
  timeoutMs?: number;
}

/** A list of resources that are told of checkpoints: before in the reverse order of registration, after in its order. */
export interface Context {
  /**
   * Registers a resource. It is held weakly: keep a reference for as long as it shall be told.
   * Throws a TypeError for something that is not a resource.
   */
  register(resource: Resource, options?: RegisterOptions): void;
  /** Forgets a resource; returns whether it was registered. */
  unregister(resource: Resource): boolean;
}

/** How a checkpoint is made. */
export interface CheckpointOptions {
  /** Names and values kept in the image's manifest. */
  labels?: Record<string, string>;
  /** Time limit in milliseconds for all threads and processes of the program to come to a halt. */
  timeoutMs?: number;
  /** Whether the image's memory is linked, so that clones share it; true unless given. */
  link?: boolean;
  /** Compresses the image; the first restore of it then takes longer. */
  compress?: 'zstd';
  /** Whether the image is flushed to disk before it is published; true unless given. */
  sync?: boolean;
}

/** What `checkpoint` comes back with: in the process that went on, and in every one restored from the image. */
export type Outcome = { outcome: 'continued'; image: string } | ({ outcome: 'restored' } & HookContext);

/** How a program is forked. */
export interface ForkOptions {
  /** Number of children, 1 unless given; at most 1000. */
  count?: number;
  /** Environment variables that the children have beside the parent's, or with other values. */
  env?: Record<string, string>;
  /** What a child finds in `self.args` and `Core.args`. */
  args?: string[];
  /** Streams to the parent, the parent's own (the default), or none. */
  stdio?: 'pipe' | 'inherit' | 'ignore';
  /** Whether children outlive the parent; false unless given. */
  detached?: boolean;
  /** Ends the children and rejects when it is aborted before all of them have started. */
  signal?: AbortSignal;
  /**
   * What becomes of listening sockets, by slot (`tcp-3000`), port or `*`: `share` (the default) accepts on the parent's
   * own, `close` has none, anything else is an address to listen at.
   */
  listen?: Record<string, string>;
  /** Host name of the children; `%i` stands for the index. */
  hostname?: string;
  /** Time limit in milliseconds for all threads and processes of the program to come to a halt. */
  timeoutMs?: number;
}

/** What `fork` comes back with: once in the parent, and once in each child. */
export type Forked =
  | {
      role: 'parent';
      /** The children that live. */
      children: Child[];
      /** Why others do not. */
      errors: Error[];
    }
  | { role: 'child'; channel: Channel; self: HookContext };

/**
 * Messages between a child and its parent, in order, each delivered once. A value is copied as by structuredClone. A
 * channel belongs to the two processes that hold it: in a clone of either it is closed.
 */
export interface Channel {
  /** Resolves when the message has been handed to the system; waits while the other side is behind. */
  send(value: unknown, options?: { transfer?: readonly ArrayBuffer[] }): Promise<void>;
  /** Messages that came before the first listener wait for it. */
  on(event: 'message' | 'close', listener: (value: unknown) => void): void;
  once(event: 'message' | 'close', listener: (value: unknown) => void): void;
  off(event: 'message' | 'close', listener: (value: unknown) => void): void;
  /** Closes the channel after what has been sent; the other side hears `close`. */
  close(): void;
}

/** A child, as its parent has it. */
export interface Child extends Channel {
  /** Id of the child's run. */
  readonly id: string;
  /** What the child reads and writes, with `stdio: 'pipe'`. */
  readonly stdin: Writable | null;
  readonly stdout: Readable | null;
  readonly stderr: Readable | null;
  /** Sends a signal, SIGTERM unless given. */
  kill(signal?: NodeJS.Signals): void;
  /** Resolves when the child has ended. Both are null in a clone of the parent, which cannot know. */
  wait(): Promise<{ code: number | null; signal: string | null }>;
}

/** Something that stood in the way of a checkpoint. */
export interface BlockingResource {
  /** File descriptor, when it is one. */
  fd?: number;
  /** What sort of thing it is, for example `file`, `socket` or `hook`. */
  kind: string;
  /** Which one. */
  what: string;
  /** Process it belongs to. */
  pid?: number;
  /** Where the program made it, when `--trace-resources` was given. */
  stack?: string;
}

/** The entry point of the library, with CRaC's names. */
export interface CoreApi {
  /** Returns the context that every checkpoint of this process notifies. */
  getGlobalContext(): Context;
  /** Returns whether checkpoints can be asked for here: in the main thread of a process started by `forkpoint run`. */
  isImplemented(): boolean;
  /** Arguments of the last `forkpoint restore`; empty when this process was never restored. */
  readonly args: readonly string[];
  /**
   * Checkpoints the program into `dest`, a path or a name (the `--to` of the run unless given), and ends it once the
   * image is published. Resolves in each process restored from the image. Rejects with CheckpointException when no
   * image was made, the program then goes on; with RestoreException when an afterRestore hook failed.
   */
  checkpointRestore(dest?: string, options?: CheckpointOptions): Promise<HookContext>;
  /** Milliseconds since this process was restored; -1 when it never was. */
  readonly uptimeSinceRestore: number;
  /** Wall clock of the restore, milliseconds since 1970; -1 when this process was never restored. */
  readonly restoreTime: number;
}
