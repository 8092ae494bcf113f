import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Http2Session, ServerHttp2Stream } from 'node:http2';

/** Limits of the histogram of request times in seconds; the supervisor has the same. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];
/** What of a request is looked at when it is asked how old it is. */
type Answer = ServerResponse | ServerHttp2Stream;

/** What http and https tell of a request by diagnostics_channel. */
interface Exchange {
  readonly response: ServerResponse;
  readonly request: IncomingMessage;
}

/** A request that is under way. */
interface Open {
  readonly request: object;
  readonly since: number;
  /** Granted to it beyond the limits, in milliseconds. */
  grantedMs: number;
}

/** Counts of requests since the process was born. */
export interface Counts {
  readonly requests: number;
  readonly active: number;
  readonly oldestMs: number;
  readonly seconds: number;
  readonly buckets: readonly number[];
}

/** Counts the requests of all HTTP servers of this process. */
export class RequestCount {
  readonly #open = new Map<Answer, Open>();
  readonly #ofRequest = new WeakMap<object, Answer>();
  #requests = 0;
  #seconds = 0;
  #buckets: number[] = [];
  /** When a request came last, on the clock of performance.now(). */
  last = 0;
  /** Whether answers end their connections. */
  isClosing = false;
  /** Called with a request whose answer is complete. */
  onComplete: ((request: object) => void) | undefined;

  constructor() {
    this.reset();
    const { subscribe } = process.getBuiltinModule('node:diagnostics_channel');
    subscribe('http.server.request.start', (message) => {
      const { request, response } = message as Exchange;
      this.#begin(response, request);
      if (this.isClosing) response.shouldKeepAlive = false;
    });
    subscribe('http.server.response.finish', (message) => {
      const { request, response } = message as Exchange;
      this.#end(response);
      this.onComplete?.(request);
    });
  }

  /** Counts the streams of a connection of HTTP/2. */
  watchSession(session: Http2Session): void {
    session.on('stream', (stream) => {
      const answer = stream as ServerHttp2Stream;
      this.#begin(answer, answer);
      answer.once('close', () => {
        this.#end(answer);
        this.onComplete?.(answer);
      });
    });
  }

  /** A process that was just born has answered nothing. */
  reset(): void {
    this.#requests = 0;
    this.#seconds = 0;
    this.#buckets = Array.from({ length: BUCKETS.length + 1 }, () => 0);
    this.#open.clear();
  }

  /** No answer that has not begun keeps its connection. */
  close(): void {
    this.isClosing = true;
    for (const answer of this.#open.keys())
      if (!answer.headersSent && 'shouldKeepAlive' in answer) answer.shouldKeepAlive = false;
  }

  /** Grants a request more time; returns whether it is under way. */
  grant(request: object, ms: number): boolean {
    const answer = this.#ofRequest.get(request);
    const open = answer === undefined ? undefined : this.#open.get(answer);
    if (open === undefined) return false;
    open.grantedMs += ms;
    return true;
  }

  /** Returns what has been counted, and how old the oldest request is that has no answer yet. */
  counts(): Counts {
    const now = performance.now();
    let oldestMs = 0;
    for (const [answer, { since, grantedMs }] of this.#open) {
      // Nobody says when a client has gone away.
      if (answer.destroyed || answer.closed) this.#open.delete(answer);
      // An answer that has begun may be a stream without an end.
      else if (!answer.headersSent) oldestMs = Math.max(oldestMs, now - since - grantedMs);
    }
    return {
      requests: this.#requests,
      active: this.#open.size,
      oldestMs: Math.round(oldestMs),
      seconds: Math.round(this.#seconds * 1e6) / 1e6,
      buckets: this.#buckets,
    };
  }

  /** Returns the oldest request without an answer, and its age. */
  oldest(): { request: object | null; elapsedMs: number } {
    let oldest: Open | undefined;
    for (const [answer, open] of this.#open)
      if (!answer.headersSent && !answer.destroyed && open.since < (oldest?.since ?? Infinity)) oldest = open;
    if (oldest === undefined) return { request: null, elapsedMs: 0 };
    return { request: oldest.request, elapsedMs: Math.round(performance.now() - oldest.since) };
  }

  #begin(answer: Answer, request: object): void {
    this.#requests++;
    this.last = performance.now();
    this.#open.set(answer, { request, since: this.last, grantedMs: 0 });
    this.#ofRequest.set(request, answer);
  }

  #end(answer: Answer): void {
    const open = this.#open.get(answer);
    if (open === undefined) return;
    this.#open.delete(answer);
    const seconds = (performance.now() - open.since) / 1000;
    this.#seconds += seconds;
    const at = BUCKETS.findIndex((limit) => seconds <= limit);
    const bucket = at < 0 ? BUCKETS.length : at;
    this.#buckets[bucket] = (this.#buckets[bucket] ?? 0) + 1;
  }
}
