import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { AmqpChannels } from './amqp-channels.ts';
import type { Channel, Reply } from './amqp-channels.ts';
import { Gate } from './gate.ts';
import { count, prototypeWith } from './library.ts';
import type { Method } from './library.ts';
import { isClass, rebuild } from './rebuild.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy, Tracker } from './types.ts';

/** What is used of a Connection (lib/connection.js of amqplib 0.10 and 2). */
interface Connection extends EventEmitter {
  readonly stream: Socket;
  /** By number; the first is the connection's own. */
  readonly channels: readonly ({ readonly channel: Channel } | null)[];
  readonly heartbeater?: { clear(): void } | null;
  readonly expectSocketClose: boolean;
  open(fields: object, callback: (error: unknown, ok?: unknown) => void): void;
  onSocketError(error: unknown): void;
}

/** How a connection was made. */
interface Origin {
  readonly fields: object;
  readonly options: { readonly host?: string; readonly port?: number };
  readonly isSecure: boolean;
}

/**
 * amqplib, for RabbitMQ. Calls, confirmations and acknowledgements are waited for; messages that arrive meanwhile are the original's. The original keeps
 * its connection. In a clone the connection object gets another one, on which its channels are open, with their consumers and
 * prefetch; what the program asks for meanwhile waits.
 */
export function amqpAdapter(): Adapter {
  const tracker = new AmqpTracker();
  return {
    name: 'amqplib',
    tracker,
    files: {
      'amqplib/lib/connection.js': (exports) => tracker.adaptConnection(exports),
      'amqplib/lib/channel.js': (exports) => tracker.adaptChannel(exports),
    },
  };
}

class AmqpTracker implements Tracker {
  readonly name = 'amqplib';
  readonly #connections = new Tracked<Connection>();
  readonly #origins = new WeakMap<object, Origin>();
  readonly #gates = new WeakMap<object, Gate>();
  readonly #channels = new AmqpChannels();
  /** Connections of a clone that are not made again yet. */
  readonly #waking = new WeakSet();
  #isHeld = false;
  #Connection: (abstract new (...args: never[]) => object) | undefined;

  adaptConnection(exports: unknown): unknown {
    const Connection: unknown =
      typeof exports === 'object' && exports !== null ? Reflect.get(exports, 'Connection') : undefined;
    const prototype = prototypeWith(Connection, ['open', 'onSocketError', 'freshChannel']);
    if (prototype === undefined || !isClass(Connection)) return exports;
    this.#Connection = Connection;
    const open = prototype['open'] as Method;
    const note = this.#note;
    prototype['open'] = function openNoted(this: Connection, fields: object, done?: Reply): unknown {
      return Reflect.apply(open, this, [
        fields,
        (error: unknown, ok: unknown) => {
          if (error === null) note(this, fields);
          done?.(error, ok as Parameters<Reply>[1]);
        },
      ]);
    };
    return exports;
  }

  adaptChannel(exports: unknown): unknown {
    if (typeof exports !== 'object' || exports === null) return exports;
    const base = prototypeWith(Reflect.get(exports, 'Channel'), [
      'sendOrEnqueue',
      'sendImmediately',
      'sendMessage',
      'allocate',
      '_rpc',
    ]);
    const derived = prototypeWith(Reflect.get(exports, 'BaseChannel'), ['dispatchMessage']);
    if (base === undefined || derived === undefined) return exports;
    const channels = this.#channels;
    const gateOf = this.#gateOf;
    const [enqueue, immediately, publish, dispatch] = [
      base['sendOrEnqueue'] as Method,
      base['sendImmediately'] as Method,
      base['sendMessage'] as Method,
      derived['dispatchMessage'] as Method,
    ];
    base['sendOrEnqueue'] = function later(
      this: Channel,
      method: number,
      fields: object,
      reply: Reply,
    ): void {
      const noted = channels.noting(this, method, fields, reply);
      const send = (): void => void Reflect.apply(enqueue, this, [method, fields, noted]);
      if (channels.of(this).isRestoring) return send();
      gateOf(this.connection).pass(() => attempt(send, reply));
    };
    base['sendImmediately'] = function noted(this: Channel, method: number, fields: object): unknown {
      channels.sent(this, method, fields);
      return Reflect.apply(immediately, this, [method, fields]);
    };
    base['sendMessage'] = function later(this: Channel, ...args: unknown[]): unknown {
      const gate = gateOf(this.connection);
      if (!gate.isClosed) return Reflect.apply(publish, this, args);
      const state = channels.of(this);
      state.heldMessages++;
      gate.pass(() => {
        state.heldMessages--;
        // Of a connection that was lost meanwhile the channel tells by itself.
        attempt(
          () => Reflect.apply(publish, this, args),
          () => undefined,
        );
      });
      return true;
    };
    derived['dispatchMessage'] = function later(this: Channel, fields: object, message: unknown): unknown {
      const deliver = (): unknown => {
        channels.delivered(this, fields, message);
        return Reflect.apply(dispatch, this, [fields, message]);
      };
      if (!gateOf(this.connection).isClosed) return deliver();
      channels.of(this).deliveries.push(deliver);
      return undefined;
    };
    return exports;
  }

  isIdle(): boolean {
    return this.#live().length === 0;
  }

  hold(): void {
    this.#isHeld = true;
    for (const connection of this.#live()) this.#gateOf(connection).close();
  }

  release(): void {
    this.#isHeld = false;
    for (const connection of this.#connections.all()) {
      if (this.#waking.has(connection)) continue;
      this.#gateOf(connection).open();
      for (const channel of channelsOf(connection)) this.#channels.deliver(channel);
    }
  }

  busy(): Busy[] {
    return this.#live().flatMap((connection) => {
      const { host, port } = this.#origins.get(connection)?.options ?? {};
      const what = `a connection to ${host}:${port}`;
      const sums = channelsOf(connection).map((channel) => this.#channels.underWay(channel));
      const sum = (name: 'calls' | 'confirmations' | 'acknowledgements'): number =>
        sums.reduce((total, one) => total + one[name], 0);
      return [
        { number: sum('calls'), one: 'call', many: 'calls' },
        {
          number: sum('confirmations'),
          one: 'message without a confirmation',
          many: 'messages without a confirmation',
        },
        {
          number: sum('acknowledgements'),
          one: 'message that is not acknowledged',
          many: 'messages that are not acknowledged',
        },
      ]
        .filter(({ number }) => number > 0)
        .map(({ number, one, many }) => ({ what, work: count(number, one, many) }));
    });
  }

  close(): void {}

  wake(isClone: boolean): void {
    if (isClone) for (const connection of this.#live()) this.#reconnect(connection);
  }

  readonly #note = (connection: Connection, fields: object): void => {
    if (this.#origins.has(connection)) return;
    const { stream } = connection;
    const isSecure = 'encrypted' in stream;
    // Name of the symbol in lib/_tls_wrap.js of Node 20 to 26; a plain connection knows whom it was made to.
    const key = Object.getOwnPropertySymbols(stream).find((one) => one.description === 'connect-options');
    const known: unknown = isSecure && key !== undefined ? Reflect.get(stream, key) : undefined;
    const host: unknown = Reflect.get(stream, '_host') ?? stream.remoteAddress;
    const options: object = known ?? { host, port: stream.remotePort };
    this.#origins.set(connection, { fields, options, isSecure });
    this.#connections.add(connection);
  };

  readonly #gateOf = (connection: object): Gate => {
    let gate = this.#gates.get(connection);
    if (gate === undefined) {
      gate = new Gate();
      if (this.#isHeld) gate.close();
      this.#gates.set(connection, gate);
    }
    return gate;
  };

  #live(): Connection[] {
    return this.#connections.all().filter((one) => !one.expectSocketClose && !one.stream.destroyed);
  }

  /** Gives a connection, in a clone, another socket, and opens its channels on it. */
  #reconnect(connection: Connection): void {
    const origin = this.#origins.get(connection);
    if (origin === undefined || this.#Connection === undefined) return;
    const channels = channelsOf(connection);
    const gate = this.#gateOf(connection);
    gate.close();
    this.#waking.add(connection);
    connection.heartbeater?.clear();
    abandon(connection.stream);
    connection.removeAllListeners('frameError');
    rebuild(this.#Connection, connection, [connectAs(origin)]);
    for (const channel of channels) this.#channels.renew(channel);
    const ready = (): void => {
      this.#waking.delete(connection);
      if (!this.#isHeld) gate.open();
    };
    connection.open(origin.fields, (error) => {
      if (error === null) {
        for (const channel of channels) this.#channels.restore(channel);
      } else {
        // The program is told as of any connection that is lost; amqplib's own recovery goes on from there.
        connection.onSocketError(error);
      }
      ready();
    });
  }
}

function channelsOf({ channels }: Connection): Channel[] {
  return channels.slice(1).flatMap((one) => one?.channel ?? []);
}

/** What a dead connection has to say does not concern anybody any more. */
function abandon(stream: Socket): void {
  stream.removeAllListeners();
  stream.on('error', () => undefined);
  stream.destroy();
}

function connectAs({ options, isSecure }: Origin): Socket {
  if (isSecure) return process.getBuiltinModule('node:tls').connect({ ...options });
  return process.getBuiltinModule('node:net').connect({ ...options, port: options.port ?? 0 });
}

function attempt(work: () => unknown, failed: Reply): void {
  try {
    work();
  } catch (error) {
    failed(error);
  }
}
