import type {
  CheckpointException as CheckpointExceptionClass,
  RestoreException as RestoreExceptionClass,
} from './errors.ts';
import { sharedRuntime } from './runtime.ts';
import type { CheckpointOptions, Context, CoreApi, Forked, ForkOptions, Outcome, Resource } from './types.ts';

export type { ServeConfig, ServeServer, ServeTimeout, ServeWorker } from './serve-config.ts';
export type {
  BlockingResource,
  Channel,
  CheckpointOptions,
  Child,
  Context,
  CoreApi,
  Forked,
  ForkOptions,
  HookContext,
  Outcome,
  RegisterOptions,
  Resource,
} from './types.ts';

const runtime = sharedRuntime();

/** The entry point with CRaC's names. */
export const Core: CoreApi = runtime.Core;

/**
 * Checkpoints the program into `dest`, a path or a name (the `--to` of the run unless given), and goes on. Resolves
 * with `continued` once the image is published, and with `restored` in each process restored from it. Rejects with
 * CheckpointException when no image was made, with RestoreException when an afterRestore hook failed.
 */
export const checkpoint: (dest?: string, options?: CheckpointOptions) => Promise<Outcome> =
  runtime.checkpoint;

/**
 * Forks the program: it goes on, and `count` children start from the very state it is in, each in a pod of its own. They
 * all come out of the same `await`: the parent with `children` once every child has started or failed, a child with a
 * `channel` to the parent. Rejects with CheckpointException when no child could be started.
 */
export const fork: (options?: ForkOptions) => Promise<Forked> = runtime.fork;

/**
 * Returns a context that can be registered in another one, to give a part of a program an order of its own.
 * Like every resource it is held weakly: keep a reference.
 */
export const createContext: () => Context & Resource = runtime.createContext;

/**
 * Grants a request `ms` milliseconds more than the limits of `forkpoint serve` before its worker is replaced; `request` is an
 * IncomingMessage, or a stream of HTTP/2. Returns whether it is under way in a worker: elsewhere there is no limit.
 */
export const extendRequest: (request: object, ms: number) => boolean = runtime.extendRequest;

/** Tells that no image was made; the program goes on and every afterRestore hook has run. */
export const CheckpointException: typeof CheckpointExceptionClass = runtime.CheckpointException;
/** Tells that no image was made; the program goes on and every afterRestore hook has run. */
export type CheckpointException = CheckpointExceptionClass;

/** Tells that an afterRestore hook failed, or something else that belongs to a restore; all hooks have run. */
export const RestoreException: typeof RestoreExceptionClass = runtime.RestoreException;
/** Tells that an afterRestore hook failed, or something else that belongs to a restore; all hooks have run. */
export type RestoreException = RestoreExceptionClass;

/**
 * Makes this process a member of the run it belongs to; called by the preload and by the package's entry, once takes
 * effect. Does nothing outside a pod and never throws. `preload` is the path of the preload script.
 */
export const start: (preload: string) => void = runtime.start;
