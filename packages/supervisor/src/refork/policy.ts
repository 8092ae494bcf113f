/** How a re-forking server decides. Times in milliseconds, sizes in bytes. */
export interface ReforkPolicy {
  /** Number of workers that shall serve. */
  readonly workers: number;
  /** Requests that the warmest worker has to have answered before it becomes the mold, by generation; none after the last. */
  readonly thresholds: readonly number[];
  /** Age of an image at which a new one is made, whatever was counted; null for never. */
  readonly reforkAfterMs: number | null;
  /** Growth of the median worker's private memory since its start at which a new image is made; null for never. */
  readonly reforkAfterGrowth: number | null;
  /**
   * How long the warmest worker's compiled code has to have been as it is, after it has grown by WARM_GROWTH since its start, for
   * a new image to be made; null for never.
   */
  readonly reforkWhenWarmMs: number | null;
  /** Workers that may be starting at one time. */
  readonly startsAtOnce: number;
  /** Old workers that may be draining at one time. */
  readonly drainsAtOnce: number;
  /** Limits for a cold start, an image, a worker's readiness, and draining. */
  readonly bootMs: number;
  readonly captureMs: number;
  readonly readyMs: number;
  readonly drainMs: number;
  /** From the signal that ends a worker to SIGKILL. */
  readonly endMs: number;
  /** Age of a request at which its worker is replaced, and at which it is killed. */
  readonly softRequestMs: number;
  readonly hardRequestMs: number;
  /** Silence of a worker after which it is killed. */
  readonly silenceMs: number;
  /** Private memory at which a worker is replaced; null for no limit. */
  readonly memoryLimit: number | null;
  /** Disk space for all images together; null for no limit. */
  readonly diskLimit: number | null;
  /** Failures of an image's workers, one after another, at which it counts as broken. */
  readonly brokenAfter: number;
  /** A worker that has lived for this long after it became ready has proved its image. */
  readonly provenMs: number;
  /** One that has answered so many requests did not fail to start, however soon it ends. */
  readonly provenRequests: number;
  /** First and longest pause after a failure. */
  readonly backOffMs: number;
  readonly backOffMaxMs: number;
}

/** A worker has compiled something when its code has grown by this part, and goes on with it while it grows by that one. */
export const WARM_GROWTH = 0.1;
export const STILL_GROWTH = 0.01;

/** What holds unless something else is said. */
export const DEFAULT_POLICY: ReforkPolicy = {
  workers: 2,
  thresholds: [50, 100, 1000],
  reforkAfterMs: null,
  reforkAfterGrowth: null,
  reforkWhenWarmMs: null,
  startsAtOnce: 4,
  drainsAtOnce: 2,
  bootMs: 60_000,
  captureMs: 60_000,
  readyMs: 30_000,
  drainMs: 30_000,
  endMs: 5000,
  softRequestMs: 20_000,
  hardRequestMs: 60_000,
  silenceMs: 30_000,
  memoryLimit: null,
  diskLimit: null,
  brokenAfter: 3,
  provenMs: 5000,
  provenRequests: 10,
  backOffMs: 250,
  backOffMaxMs: 30_000,
};

/** Returns the pause after the n-th failure in a row, from 1: it doubles up to its limit. */
export function backOff(policy: ReforkPolicy, failures: number): number {
  return Math.min(policy.backOffMs * 2 ** Math.min(failures - 1, 20), policy.backOffMaxMs);
}
