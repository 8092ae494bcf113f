import type { EventEmitter } from 'node:events';
import { Gate } from './gate.ts';
import { count, prototypeWith } from './library.ts';
import type { Method } from './library.ts';
import { isBlocking } from './redis-commands.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy, Tracker } from './types.ts';

/** What is used of a client (dist/lib/client/index.js of @redis/client 1 to 6). */
interface Client extends EventEmitter {
  readonly isReady: boolean;
  readonly isWatching?: boolean;
  readonly options?: { socket?: { host?: string; port?: number; path?: string }; database?: unknown };
  /** The client itself, of one that has other options for its commands. */
  readonly _self?: Client;
}

/** How long commands of a clone are held for a new connection, in milliseconds; then the library says what is wrong. */
const RECONNECT_LIMIT_MS = 5_000;
/** What sends commands, with what is known of them. */
const SENDERS = ['sendCommand', '_executeMulti', '_executePipeline', 'multiExecutor'];

const { setTimeout: startTimer, clearTimeout: stopTimer } = globalThis;

/**
 * redis (node-redis). Commands are waited for, but for those that wait themselves, as BLPOP does. The original keeps its connections. In a clone the
 * library connects anew when it sees its connection closed, and subscribes and selects again; it would complain about that as an error, and lose commands
 * that are sent before it has seen it: these wait until it is connected.
 */
export function redisAdapter(): Adapter {
  const tracker = new RedisTracker();
  return {
    name: 'redis',
    tracker,
    files: { '@redis/client/dist/lib/client/index.js': (exports) => tracker.adapt(exports) },
  };
}

class RedisTracker implements Tracker {
  readonly name = 'redis';
  readonly #all = new Tracked<Client>();
  readonly #gates = new WeakMap<object, Gate>();
  readonly #running = new WeakMap<object, Set<object>>();
  /** Clients of a clone that are not connected yet. */
  readonly #waking = new Set<Client>();
  #isHeld = false;

  adapt(exports: unknown): unknown {
    const Client: unknown =
      typeof exports === 'object' && exports !== null && 'default' in exports ? exports.default : exports;
    const prototype = prototypeWith(Client, ['connect', 'sendCommand']);
    if (prototype === undefined) return exports;
    const connect = prototype['connect'] as Method;
    const all = this.#all;
    prototype['connect'] = function connectNoted(this: Client, ...args: unknown[]): unknown {
      all.add(this._self ?? this);
      return Reflect.apply(connect, this, args);
    };
    for (const name of SENDERS) {
      const send: unknown = prototype[name];
      if (typeof send === 'function') prototype[name] = this.#sender(send as Method);
    }
    return exports;
  }

  isIdle(): boolean {
    return this.#ready().length === 0;
  }

  hold(): void {
    this.#isHeld = true;
    for (const client of this.#ready()) this.#gateOf(client).close();
  }

  release(): void {
    this.#isHeld = false;
    for (const client of this.#all.all()) if (!this.#waking.has(client)) this.#gateOf(client).open();
  }

  busy(): Busy[] {
    return this.#ready().flatMap((client) => {
      const { host, port, path } = client.options?.socket ?? {};
      const place = typeof path === 'string' ? path : `${host ?? 'localhost'}:${port ?? 6379}`;
      const what = `a connection to ${place}`;
      if (client.isWatching === true) return [{ what, work: 'a transaction' }];
      const commands = this.#running.get(client)?.size ?? 0;
      return commands === 0 ? [] : [{ what, work: count(commands, 'command', 'commands') }];
    });
  }

  close(): void {}

  wake(isClone: boolean): void {
    if (isClone) for (const client of this.#ready()) this.#reconnect(client);
  }

  /** Sends now, or when the gate opens; knows of what has no answer yet. */
  #sender(send: Method): Method {
    const gateOf = (client: Client): Gate => this.#gateOf(client);
    const note = (client: Client, result: unknown): void => this.#note(client, result);
    const again = (client: Client, result: unknown, run: () => unknown): unknown =>
      this.#again(client, result, run);
    return function sendLater(this: object, ...args: unknown[]): unknown {
      const own = this as Client;
      const client = own._self ?? own;
      const gate = gateOf(client);
      const [words] = args;
      const isWaiting = Array.isArray(words) && isBlocking(String(words[0]), words);
      const run = (): unknown => {
        const result = Reflect.apply(send, own, args);
        if (isWaiting) return again(client, result, run);
        note(client, result);
        return result;
      };
      // What belongs to a transaction that has begun must not wait for its end.
      if (!gate.isClosed || client.isWatching === true || !client.isReady) return run();
      return new Promise((resolve) => {
        gate.pass(() => resolve(run()));
      });
    };
  }

  #note(client: Client, result: unknown): void {
    if (!(result instanceof Promise)) return;
    const running = this.#running.get(client) ?? new Set();
    this.#running.set(client, running);
    running.add(result);
    const forget = (): void => void running.delete(result);
    result.then(forget, forget);
  }

  /** Has a command that waits at the server wait at it again, when it was cut by the restore and nothing else. */
  #again(client: Client, result: unknown, run: () => unknown): unknown {
    if (!(result instanceof Promise)) return result;
    return result.catch(async (error: unknown) => {
      if (!this.#waking.has(client) || !isClosedUnexpectedly(error)) throw error;
      return await new Promise((resolve) => {
        this.#gateOf(client).pass(() => resolve(run()));
      });
    });
  }

  #gateOf(client: Client): Gate {
    let gate = this.#gates.get(client);
    if (gate === undefined) {
      gate = new Gate();
      if (this.#isHeld) gate.close();
      this.#gates.set(client, gate);
    }
    return gate;
  }

  #ready(): Client[] {
    return this.#all.all().filter(({ isReady }) => isReady);
  }

  /** Keeps commands back until the library has noticed that the connection is gone, and has made another one. */
  #reconnect(client: Client): void {
    const gate = this.#gateOf(client);
    gate.close();
    this.#waking.add(client);
    const emit = client.emit.bind(client);
    let timer: NodeJS.Timeout | undefined;
    const connected = (): void => {
      stopTimer(timer);
      client.removeListener('ready', connected);
      Reflect.deleteProperty(client, 'emit');
      this.#waking.delete(client);
      gate.open();
    };
    timer = startTimer(connected, RECONNECT_LIMIT_MS);
    client.once('ready', connected);
    const quietly = (event: string | symbol, ...args: unknown[]): boolean => {
      const [error] = args;
      // The one thing that is known already.
      if (event === 'error' && isClosedUnexpectedly(error)) return true;
      return emit(event, ...args);
    };
    Object.defineProperty(client, 'emit', { value: quietly, configurable: true, writable: true });
  }
}

function isClosedUnexpectedly(error: unknown): boolean {
  return error instanceof Error && error.constructor.name === 'SocketClosedUnexpectedlyError';
}
