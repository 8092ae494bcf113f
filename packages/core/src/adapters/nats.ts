import { count, prototypeWith, withLimit } from './library.ts';
import type { Method } from './library.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy } from './types.ts';

/** What is used of a connection (NatsConnectionImpl of nats 2 and @nats-io/nats-core 3). */
interface Connection {
  isClosed(): boolean;
  isDraining(): boolean;
  getServer(): string;
  flush(): Promise<void>;
  reconnect(): Promise<void>;
  readonly protocol?: {
    readonly options?: { readonly inboxPrefix?: string };
    /** Requests without an answer, and the subject below which answers come. */
    readonly muxSubscriptions?: { size(): number; init(prefix?: string): string };
    readonly subscriptions?: { getMux(): { subject: string } | null };
  } & Partial<Outbound>;
}

/** Where a connection keeps what is published until it is sent. */
interface Outbound {
  connected: boolean;
  readonly outbound: { reset(): void; drain(): Uint8Array; fill(bytes: Uint8Array): void };
  resetOutbound(): void;
}

/**
 * nats. Requests are waited for, and what was published is handed to the server before a checkpoint, so that no clone publishes it again. The
 * original keeps its connection; in a clone it is made anew, by the library's own way, which subscribes again. A clone gets another inbox
 * and other tokens for its requests: with those of the original it would take answers for its own that others have asked for.
 */
export function natsAdapter(): Adapter {
  const all = new Tracked<Connection>();
  const generators = new Set<{ reset(): void }>();
  const live = (): Connection[] => all.all().filter((one) => !one.isClosed() && !one.isDraining());

  const adaptIds = (exports: unknown): unknown => {
    const nuid: unknown =
      typeof exports === 'object' && exports !== null ? Reflect.get(exports, 'nuid') : undefined;
    if (typeof nuid === 'object' && nuid !== null && 'reset' in nuid)
      generators.add(nuid as { reset(): void });
    return exports;
  };
  const wake = (one: Connection): void => {
    const { options, muxSubscriptions, subscriptions } = one.protocol ?? {};
    const mux = subscriptions?.getMux();
    if (mux && muxSubscriptions) mux.subject = `${muxSubscriptions.init(options?.inboxPrefix)}*`;
    // A server that is gone is the library's affair: it tries again, as it was told to.
    one.reconnect().catch(() => undefined);
    if (one.protocol !== undefined) keepPublished(one.protocol);
  };
  const adapt = (exports: unknown): unknown => noteConnections(exports, all);
  return {
    name: 'nats',
    tracker: {
      name: 'nats',
      isIdle: () => live().length === 0,
      hold: (): void => undefined,
      release: (): void => undefined,
      busy: (): Busy[] =>
        live().flatMap((one) => {
          const requests = one.protocol?.muxSubscriptions?.size() ?? 0;
          const what = `a connection to ${one.getServer()}`;
          return requests === 0 ? [] : [{ what, work: count(requests, 'request', 'requests') }];
        }),
      close: async (limitMs) => {
        await Promise.all(
          live().map(async (one) => {
            // A connection that is being made anew has no answer yet: it is not waited for.
            await withLimit(limitMs, (finish) => void one.flush().then(finish, finish));
          }),
        );
      },
      wake: (isClone) => {
        if (!isClone) return;
        for (const generator of generators) generator.reset();
        for (const one of live()) wake(one);
      },
    },
    files: {
      'nats/lib/nats-base-client/nats.js': adapt,
      'nats/lib/nats-base-client/nuid.js': adaptIds,
      '@nats-io/nats-core/lib/nats.js': adapt,
      '@nats-io/nuid/lib/nuid.js': adaptIds,
    },
  };
}

/**
 * Until the library sees that the connection has closed it sends by it, and then drops what waits: the first request of a clone would
 * never get an answer. What is published from now on waits for the new connection instead; what the original has published does not.
 */
function keepPublished(protocol: Partial<Outbound>): void {
  const { outbound, resetOutbound } = protocol;
  if (outbound === undefined || resetOutbound === undefined || typeof protocol.connected !== 'boolean')
    return;
  outbound.reset();
  protocol.connected = false;
  // Called once, when the new connection is begun.
  protocol.resetOutbound = function (this: Outbound): void {
    Reflect.deleteProperty(this, 'resetOutbound');
    const published = this.outbound.drain();
    resetOutbound.call(this);
    // An empty buffer counts as one that will be sent by and by.
    if (published.length > 0) this.outbound.fill(published);
  };
}

/** A connection is noted when it is used for the first time; before that nothing can be lost. */
function noteConnections(exports: unknown, all: Tracked<Connection>): unknown {
  const Connection: unknown =
    typeof exports === 'object' && exports !== null ? Reflect.get(exports, 'NatsConnectionImpl') : undefined;
  const prototype = prototypeWith(Connection, ['publish', 'subscribe', 'flush', 'reconnect']);
  if (prototype === undefined) return exports;
  for (const name of ['publish', 'subscribe', 'request', 'requestMany']) {
    const method = prototype[name];
    if (typeof method !== 'function') continue;
    prototype[name] = function noted(this: Connection, ...args: unknown[]): unknown {
      all.add(this);
      return Reflect.apply(method as Method, this, args);
    };
  }
  return exports;
}
