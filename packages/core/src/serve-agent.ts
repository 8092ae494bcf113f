import type { Server as HttpServer, IncomingMessage, ServerResponse } from 'node:http';
import type { Server, Socket } from 'node:net';

import { shortPath } from './socket-path.ts';
import type { Context, Resource } from './types.ts';

/** How often the supervisor hears of this process, in milliseconds, when there is news and when there is none. */
const TELL_MS = 100;
const TELL_ANYWAY_MS = 1000;
/** How long no server has to be added until the program counts as started. */
const SETTLE_MS = 50;
/** An idle connection is closed this long after its last request, when the process is to end. */
const IDLE_MS = 1000;
const COMMAND_MAX = 256;

/** Where a server asked to listen, and where it listens while the program is started for its image. */
interface Place {
  readonly wanted: { readonly port?: number; readonly host?: string; readonly path?: string };
  readonly actual: string;
}

/** What a request is, for us: http and https tell of both ends of it by diagnostics_channel. */
interface Exchange {
  readonly response: ServerResponse;
  readonly request: IncomingMessage;
}

/**
 * The part of a re-forking server that lives in its workers: counts requests, tells the supervisor, and ends the
 * work on its servers when it is told to. In the program's first start it also moves listening sockets to free
 * addresses, since the real ones may be in use by workers of older code.
 */
export class ServeAgent implements Resource {
  readonly #path: string;
  readonly #idOf: () => string;
  #isBoot: boolean;
  readonly #servers = new Set<Server>();
  readonly #places: Place[] = [];
  readonly #active = new Map<ServerResponse, number>();
  #line: Socket | undefined;
  #requests = 0;
  #lastRequest = 0;
  #isDraining = false;
  #told = '';
  #toldAt = 0;

  constructor(path: string, isBoot: boolean, idOf: () => string) {
    this.#path = path;
    this.#isBoot = isBoot;
    this.#idOf = idOf;
  }

  /** Begins to count, and connects to the supervisor. */
  start(context: Context): void {
    context.register(this);
    this.#watchServers();
    const { subscribe } = process.getBuiltinModule('node:diagnostics_channel');
    subscribe('http.server.request.start', (message) => this.#begin(message as Exchange));
    subscribe('http.server.response.finish', (message) => {
      this.#active.delete((message as Exchange).response);
    });
    this.#connect();
    setInterval(() => this.#tell(), TELL_MS).unref();
  }

  /** What was garbage would be copied by every worker; the supervisor belongs to the original. */
  beforeCheckpoint(): void {
    this.#line?.removeAllListeners('close').destroy();
    this.#line = undefined;
    collectGarbage();
  }

  afterRestore({ generation, id }: { readonly generation: number; readonly id: string }): void {
    if (generation > 0 && id !== this.#born) this.#beBorn(id);
    this.#connect();
  }

  /** Id of the run that the counters are about. */
  #born = '';

  #beBorn(id: string): void {
    this.#born = id;
    this.#isBoot = false;
    this.#requests = 0;
    this.#active.clear();
    this.#told = '';
  }

  #begin({ response }: Exchange): void {
    this.#requests++;
    this.#lastRequest = performance.now();
    this.#active.set(response, this.#lastRequest);
    if (this.#isDraining) response.shouldKeepAlive = false;
  }

  #connect(): void {
    const { Socket: NetSocket } = process.getBuiltinModule('node:net');
    const short = shortPath(this.#path);
    const line = new NetSocket();
    line.setEncoding('utf8');
    let text = '';
    line.on('data', (more: string) => {
      text = (text + more).slice(-COMMAND_MAX);
      if (text.includes('drain\n')) this.#drain();
    });
    line.on('error', () => undefined);
    line.once('connect', () => short.release());
    // Without the supervisor nobody would end this process.
    line.once('close', () => process.kill(process.pid, 'SIGTERM'));
    line.connect(short.path);
    line.unref();
    this.#line = line;
    this.#send({ run: this.#idOf(), pid: process.pid });
    this.#announce();
  }

  #send(message: object): void {
    this.#line?.write(`${JSON.stringify(message)}\n`);
  }

  /** A clone is ready at once, a program that is being started once it listens and adds no more servers. */
  #announce(): void {
    if (!this.#isBoot) {
      this.#send({ ready: true });
      return;
    }
    const count = this.#places.length;
    if (count === 0) return;
    setTimeout(() => {
      if (count === this.#places.length) this.#send({ ready: true, places: this.#places });
    }, SETTLE_MS);
  }

  #tell(): void {
    const now = performance.now();
    let oldest = now;
    for (const [response, since] of this.#active) {
      // Nobody says when a client has gone away.
      if (response.destroyed || response.closed) this.#active.delete(response);
      // An answer that has begun may be a stream without an end.
      else if (!response.headersSent) oldest = Math.min(oldest, since);
    }
    const told = JSON.stringify({
      requests: this.#requests,
      active: this.#active.size,
      oldestMs: Math.round(now - oldest),
    });
    if (told === this.#told && now - this.#toldAt < TELL_ANYWAY_MS) return;
    this.#told = told;
    this.#toldAt = now;
    this.#line?.write(`${told}\n`);
  }

  /** Every server of this process is seen when it begins to listen. */
  #watchServers(): void {
    const { Server: NetServer } = process.getBuiltinModule('node:net');
    const listen = methodOf(NetServer.prototype, 'listen');
    const address = methodOf(NetServer.prototype, 'address');
    const servers = this.#servers;
    const isBoot = (): boolean => this.#isBoot;
    const moveTo = (wanted: Place['wanted'], actual: number): void => {
      this.#places.push({ wanted, actual: String(actual) });
      this.#announce();
    };
    const moved = new WeakMap<Server, Place['wanted']>();
    NetServer.prototype.listen = function (this: Server, ...args: unknown[]): Server {
      const place = isBoot() ? placeOf(args) : undefined;
      servers.add(this);
      this.once('close', () => servers.delete(this));
      if (place === undefined) return Reflect.apply(listen, this, args) as Server;
      const callback = args.findLast((arg) => typeof arg === 'function');
      moved.set(this, place);
      this.prependOnceListener('listening', () => {
        const now = Reflect.apply(address, this, []) as { port: number };
        moveTo(place, now.port);
      });
      const here = [{ port: 0, host: '127.0.0.1' }, callback].filter((arg) => arg !== undefined);
      return Reflect.apply(listen, this, here) as Server;
    };
    NetServer.prototype.address = function (this: Server) {
      const now = Reflect.apply(address, this, []);
      const wanted = moved.get(this);
      if (!isBoot() || wanted === undefined || now === null || typeof now === 'string') return now;
      return {
        ...now,
        address: wanted.host ?? '::',
        port: wanted.port === 0 ? now.port : (wanted.port ?? now.port),
      };
    };
  }

  /** Accepts nothing new, and lets every connection end after the request that it has or is just sending. */
  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const { Server: NetServer } = process.getBuiltinModule('node:net');
    const started = performance.now();
    const servers = [...this.#servers];
    let open = servers.length;
    // The close of http.Server would also close idle connections, on which a request may be under way.
    const close = methodOf(NetServer.prototype, 'close');
    for (const server of servers) Reflect.apply(close, server, [() => void open--]);
    for (const response of this.#active.keys()) if (!response.headersSent) response.shouldKeepAlive = false;
    const timer = setInterval(() => {
      this.#tell();
      // After the next look at the sockets: a request may have come while this process had to wait.
      setImmediate(() => {
        const quiet = performance.now() - Math.max(started, this.#lastRequest);
        if (open === 0 || this.#active.size > 0 || quiet < IDLE_MS) return;
        for (const server of servers) (server as HttpServer).closeIdleConnections?.();
      });
      if (open > 0) return;
      clearInterval(timer);
      this.#send({ drained: true });
    }, 20);
  }
}

function methodOf<K extends 'listen' | 'address' | 'close'>(prototype: Server, name: K): Server[K] {
  return Reflect.get(prototype, name) as Server[K];
}

/** Returns where `server.listen(...args)` would listen, when that is a TCP address. */
function placeOf(args: readonly unknown[]): Place['wanted'] | undefined {
  const [first, second] = args;
  const options = (typeof first === 'object' && first !== null ? first : { port: first, host: second }) as {
    readonly port?: unknown;
    readonly host?: unknown;
    readonly path?: unknown;
    readonly fd?: unknown;
  };
  if (options.fd !== undefined || options.path !== undefined) return undefined;
  const given = options.port ?? (args.length === 0 || typeof first === 'function' ? 0 : undefined);
  const port = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
  if (typeof port !== 'number') return undefined;
  return typeof options.host === 'string' ? { port, host: options.host } : { port };
}

function collectGarbage(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  const { runInNewContext } = process.getBuiltinModule('node:vm');
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') Reflect.apply(collect, undefined, []);
}
