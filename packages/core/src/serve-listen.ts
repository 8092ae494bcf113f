import type { Http2Session } from 'node:http2';
import type { Server } from 'node:net';

/** Where a server asked to listen: a port and perhaps a host, or the path of a unix socket. */
export interface Wanted {
  readonly port?: number;
  readonly host?: string;
  readonly path?: string;
}

/** Where a server asked to listen, and where it listens while the program is started for its image. */
export interface Place {
  readonly wanted: Wanted;
  /** A port of 127.0.0.1, or a path. */
  readonly actual: string;
}

/** What the servers of a program are watched for. */
export interface Watching {
  /** Whether listening sockets are moved to free addresses. */
  isMoving(): boolean;
  /** Where unix sockets are moved to. */
  directory(): string;
  /** Ports that servers have which ask for port 0, in their order, as far as they are known. */
  readonly zeros: readonly number[];
  moved(place: Place): void;
  session(session: Http2Session): void;
}

/** All servers of this process, seen when they begin to listen. */
export class Servers {
  readonly all = new Set<Server>();
  readonly places: Place[] = [];
  readonly #watching: Watching;
  readonly #address = methodOf(prototypeOf(), 'address');

  constructor(watching: Watching) {
    this.#watching = watching;
    this.#watchListen();
    this.#watchAddress();
  }

  /** Those that were there before this object was: in a program that was started without it. */
  adopt(): void {
    const { Server: NetServer } = process.getBuiltinModule('node:net');
    const handles: unknown = Reflect.apply(
      Reflect.get(process, '_getActiveHandles') as () => unknown,
      process,
      [],
    );
    if (Array.isArray(handles)) for (const one of handles) if (one instanceof NetServer) this.#add(one);
  }

  readonly #moved = new WeakMap<Server, Wanted>();

  #add(server: Server): void {
    if (this.all.has(server)) return;
    this.all.add(server);
    server.once('close', () => this.all.delete(server));
    // Servers of HTTP/2 only; others have no such event.
    server.on('session', (session: Http2Session) => this.#watching.session(session));
  }

  #zero = 0;

  /** A port that was chosen before stays the one that the program is told. */
  #known(wanted: Wanted): Wanted {
    if (wanted.port !== 0) return wanted;
    const port = this.#watching.zeros[this.#zero++];
    return port === undefined ? wanted : { ...wanted, port };
  }

  #watchListen(): void {
    const listen = methodOf(prototypeOf(), 'listen');
    const begin = (server: Server, args: unknown[]): Server => {
      const wanted = this.#watching.isMoving() ? wantedOf(args) : undefined;
      this.#add(server);
      if (wanted === undefined) return Reflect.apply(listen, server, args) as Server;
      this.#moved.set(server, this.#known(wanted));
      const path = wanted.path === undefined ? undefined : freePath(this.#watching.directory());
      server.prependOnceListener('listening', () => {
        if (path !== undefined) linkTo(path, wanted.path ?? path);
        const now: unknown = Reflect.apply(this.#address, server, []);
        const actual = path ?? String((now as { port: number }).port);
        this.places.push({ wanted, actual });
        this.#watching.moved({ wanted, actual });
      });
      const callback = args.findLast((arg) => typeof arg === 'function');
      const here = [path === undefined ? { port: 0, host: '127.0.0.1' } : { path }, callback];
      return Reflect.apply(
        listen,
        server,
        here.filter((arg) => arg !== undefined),
      ) as Server;
    };
    prototypeOf().listen = function (this: Server, ...args: unknown[]): Server {
      return begin(this, args);
    };
  }

  /** A program that looks where it listens finds what it asked for. */
  #watchAddress(): void {
    const real = this.#address;
    const wantedFor = (server: Server): Wanted | undefined =>
      this.#watching.isMoving() ? this.#moved.get(server) : undefined;
    prototypeOf().address = function (this: Server) {
      const now = Reflect.apply(real, this, []);
      const wanted = wantedFor(this);
      if (wanted === undefined || now === null) return now;
      if (typeof now === 'string') return wanted.path ?? now;
      return {
        ...now,
        address: wanted.host ?? '::',
        port: wanted.port === 0 ? now.port : (wanted.port ?? now.port),
      };
    };
  }
}

/** A path for a unix socket that nobody else has; a long one does not fit into an address (unix(7)). */
function freePath(directory: string): string {
  const { randomBytes } = process.getBuiltinModule('node:crypto');
  const name = `u-${randomBytes(6).toString('hex')}`;
  return directory.length > 90 ? `/tmp/fp-${name}` : `${directory}/${name}`;
}

/** Whoever changes the mode of the socket at the path where it shall be finds the one that is there for now. */
function linkTo(actual: string, path: string): void {
  try {
    process.getBuiltinModule('node:fs').symlinkSync(actual, path);
  } catch {
    // A socket of older code is there, and can be changed as well.
  }
}

function prototypeOf(): Server {
  return process.getBuiltinModule('node:net').Server.prototype;
}

/** Returns a method of net.Server as it is now. */
export function methodOf<K extends 'listen' | 'address' | 'close'>(prototype: Server, name: K): Server[K] {
  return Reflect.get(prototype, name) as Server[K];
}

/** Returns where `server.listen(...args)` would listen, when that is an address that can be moved. */
function wantedOf(args: readonly unknown[]): Wanted | undefined {
  const [first, second] = args;
  const options = (typeof first === 'object' && first !== null ? first : { port: first, host: second }) as {
    readonly port?: unknown;
    readonly host?: unknown;
    readonly path?: unknown;
    readonly fd?: unknown;
  };
  if (options.fd !== undefined) return undefined;
  const given = options.port ?? (args.length === 0 || typeof first === 'function' ? 0 : undefined);
  const port = typeof given === 'string' && /^\d+$/.test(given) ? Number(given) : given;
  if (typeof port === 'number')
    return typeof options.host === 'string' ? { port, host: options.host } : { port };
  // listen('/path') and listen({ path }); an abstract address has no path that others could be given.
  const path = options.path ?? (typeof first === 'string' ? first : undefined);
  return typeof path === 'string' && path.startsWith('/') ? { path } : undefined;
}
