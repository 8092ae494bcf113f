/** A worker, for the hooks of `forkpoint.config`. */
export interface ServeWorker {
  /** Its number, from 0; the one that takes its place has the same. */
  readonly number: number;
  /** How many restores lie behind it. */
  readonly generation: number;
  /** Requests that it has begun. */
  readonly requests: number;
  /** In its own pid namespace. */
  readonly pid: number;
}

/** The server, for the hooks of `forkpoint.config`. */
export interface ServeServer {
  /** Tells the operator, on the server's stderr. */
  log(text: string): void;
}

/** What a worker has worked on for too long. */
export interface ServeTimeout {
  /** The oldest request without an answer: an IncomingMessage, or a stream of HTTP/2. Null when its client has gone. */
  readonly request: object | null;
  readonly elapsedMs: number;
}

type MaybePromise = void | Promise<void>;

/**
 * What `forkpoint.config.ts`, `.mts`, `.mjs` or `.js` exports as its default. Everything may be left out; options of the
 * command line go before it. Sizes are bytes or text such as `300MB`, times are milliseconds.
 */
export interface ServeConfig {
  readonly name?: string;
  readonly workers?: number;
  /** Requests at which the warmest worker becomes the mold, by generation. */
  readonly refork?: readonly number[] | 'off';
  /** Also when the image has this age, or the median worker's own memory has grown by this much. */
  readonly reforkAfterMs?: number;
  readonly reforkAfterGrowth?: number | string;
  /** Also when V8 has compiled a tenth more code in the warmest worker than its image had, and nothing more for this long. */
  readonly reforkWhenWarmMs?: number;
  readonly memoryLimit?: number | string;
  readonly diskLimit?: number | string;
  /**
   * To how many MiB each half of V8's young generation may grow: 1, 2, 4, 8, 16, 32 or 64; 4 unless given, and nothing is changed when it is
   * false, or when the program's command or NODE_OPTIONS have such a size themselves.
   */
  readonly youngGeneration?: number | false;
  /** Image that workers start from; whether one is kept for the next start. */
  readonly from?: string;
  readonly keep?: boolean;
  /** `PORT` or `HOST:PORT` of status page, metrics and probes. */
  readonly admin?: string;
  readonly log?: 'plain' | 'prefix' | 'json';
  /** Age of a request at which its worker is replaced, and at which it is killed. */
  readonly timeoutMs?: number;
  readonly hardTimeoutMs?: number;
  /** For a cold start, for a worker to become ready, for draining, and for silence. */
  readonly bootTimeoutMs?: number;
  readonly readyTimeoutMs?: number;
  readonly drainTimeoutMs?: number;
  readonly silenceTimeoutMs?: number;

  /** In the server, once all workers serve for the first time. */
  afterMonitorReady?(server: ServeServer): MaybePromise;
  /** In a process that becomes a mold, before its image is taken: let go of what nobody shall inherit. */
  afterMoldFork?(server: ServeServer, worker: ServeWorker): MaybePromise;
  /** In a new worker, before it counts as ready: open what it needs of its own. A worker whose hook throws is ended. */
  afterWorkerFork?(server: ServeServer, worker: ServeWorker): MaybePromise;
  afterWorkerReady?(server: ServeServer, worker: ServeWorker): MaybePromise;
  /** In a worker that has answered its last request. */
  beforeWorkerExit?(server: ServeServer, worker: ServeWorker): MaybePromise;
  /** After each answer, with the request: an IncomingMessage, or a stream of HTTP/2. */
  afterRequestComplete?(server: ServeServer, worker: ServeWorker, request: object): MaybePromise;
  /** In a worker that is to be replaced because a request took longer than `timeoutMs`. */
  afterWorkerTimeout?(server: ServeServer, worker: ServeWorker, timeout: ServeTimeout): MaybePromise;
  /** In the server, when a worker was killed because a request took longer than `hardTimeoutMs`. */
  afterWorkerHardTimeout?(server: ServeServer, worker: ServeWorker): MaybePromise;
}
