/** Something that stands in the way of a checkpoint. */
export interface Busy {
  /** What is in use, for example `a pool of 3 connections to app@127.0.0.1:5432`. */
  readonly what: string;
  /** What it does, for example `2 queries and 1 transaction`. */
  readonly work: string;
}

/** What an adapter knows of its library: everything is about the calling thread, and synchronous unless it says so. */
export interface Tracker {
  /** Name of the adapter, as in `FORKPOINT_ADAPTERS`. */
  readonly name: string;
  /** Returns whether there is nothing to do before a checkpoint, because nothing is open. */
  isIdle(): boolean;
  /** Keeps new work from beginning, as far as the library can wait; work that has begun goes on. */
  hold(): void;
  /** Lets the work begin that was held. */
  release(): void;
  /** Returns what is under way and must not be cut. */
  busy(): Busy[];
  /** Closes what carries no state and is opened again when it is needed. Called when nothing is busy, and more than once. */
  close(limitMs: number): void | Promise<void>;
  /** Runs after a checkpoint. In a clone every connection of the original is dead, though nobody has been told yet. */
  wake(isClone: boolean): void;
}

/** Takes part in the loading of a library: gets what its file exports and returns what the program is to see. */
export type Patch = (exports: unknown) => unknown;

/** An adapter, before anything of its library was loaded. */
export interface Adapter {
  readonly name: string;
  readonly tracker: Tracker;
  /** Ends of file names, below `node_modules`, with what is to be done to each. */
  readonly files?: Readonly<Record<string, Patch>>;
  /** Called once when the process joins. */
  start?(): void;
  /** Adapts a library that was not loaded from `node_modules`, for example a bundled one. */
  adapt?: Patch;
}
