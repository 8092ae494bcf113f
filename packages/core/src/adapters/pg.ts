import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { Gate } from './gate.ts';
import { count, prototypeWith, withLimit } from './library.ts';
import type { Method } from './library.ts';
import { isClass, observed, rebuild } from './rebuild.ts';
import { postgresql, Session } from './session.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy, Tracker } from './types.ts';

/** What is used of a Client of pg (lib/client.js of pg 8). */
interface Client extends EventEmitter {
  readonly connection: EventEmitter & { readonly stream: Socket };
  readonly user?: unknown;
  readonly database?: unknown;
  readonly host?: unknown;
  readonly port?: unknown;
  _connecting: boolean;
  _connected: boolean;
  _ending: boolean;
  _ended: boolean;
  _queryable: boolean;
  readyForQuery?: boolean;
  _activeQuery?: object | null;
  _queryQueue?: unknown[];
  _sentQueryQueue?: unknown[];
  connect(callback: (error: unknown) => void): void;
  query(text: string, callback: (error: unknown) => void): unknown;
  _pulseQueryQueue(): void;
}

/** What is used of a Pool (pg-pool 3). */
interface Pool extends EventEmitter {
  readonly idleCount: number;
  Client: unknown;
  connect(callback: (error: unknown, client: Client, release: (destroy?: boolean) => void) => void): void;
}

/** A session, and whether it is in a transaction. */
class PgSession extends Session {
  #status = 'I';
  #connection: EventEmitter | undefined;

  get isInTransaction(): boolean {
    return this.#status !== 'I';
  }

  /** Listens to a connection, once: the server says after each query whether a transaction is open (ReadyForQuery). */
  watch(connection: EventEmitter): void {
    if (this.#connection === connection) return;
    this.#connection = connection;
    this.#status = 'I';
    connection.prependListener('readyForQuery', (message: { status?: unknown } | undefined) => {
      if (typeof message?.status === 'string') this.#status = message.status;
    });
  }
}

function textOf(query: unknown): unknown {
  return typeof query === 'object' && query !== null && 'text' in query ? query.text : query;
}

/**
 * pg. Idle connections of pools are closed, and the pool opens others. A client that the program holds keeps its connection, because
 * a session has a state; in a clone it gets a connection of its own, and the settings and channels that it had asked for.
 */
export function pgAdapter(): Adapter {
  const pg = new PgTracker();
  return {
    name: 'pg',
    tracker: pg,
    files: {
      'pg/lib/client.js': (exports) => pg.adaptClient(exports),
      'pg-pool/index.js': (exports) => pg.adaptPool(exports),
    },
    adapt: (library) => pg.adaptLibrary(library),
  };
}

class PgTracker implements Tracker {
  readonly name = 'pg';
  readonly #gate = new Gate();
  readonly #clients = new Tracked<Client>();
  readonly #pools = new Tracked<Pool>();
  readonly #sessions = new WeakMap<object, PgSession>();
  #Observed: unknown;
  #Client: (abstract new (...args: never[]) => object) | undefined;
  #poolConnect: Method | undefined;

  adaptLibrary(library: unknown): unknown {
    if (typeof library !== 'object' || library === null)
      throw new TypeError('pg: what is adapted is the module pg');
    const pg: { Client?: unknown; Pool?: unknown } = library;
    pg.Client = this.adaptClient(pg.Client);
    this.adaptPool(typeof pg.Pool === 'function' ? (Object.getPrototypeOf(pg.Pool) as unknown) : undefined);
    return library;
  }

  adaptClient(exports: unknown): unknown {
    const prototype = prototypeWith(exports, ['connect', 'query', '_pulseQueryQueue']);
    if (prototype === undefined || !isClass(exports)) return exports;
    const pulse = prototype['_pulseQueryQueue'] as Method;
    const query = prototype['query'] as Method;
    const { isHeld, sessionOf } = { isHeld: () => this.#gate.isClosed, sessionOf: this.#sessionOf };
    this.#Client = exports;
    prototype['_pulseQueryQueue'] = function pulseLater(this: Client, ...args: unknown[]): unknown {
      // What has begun may go on: connecting, and a transaction.
      if (isHeld() && !this._connecting && !sessionOf(this).isInTransaction) return undefined;
      return Reflect.apply(pulse, this, args);
    };
    prototype['query'] = function queryNoted(this: Client, ...args: unknown[]): unknown {
      sessionOf(this).note(textOf(args[0]));
      return Reflect.apply(query, this, args);
    };
    this.#Observed = observed(exports, (client) => this.#clients.add(client as Client));
    return this.#Observed;
  }

  adaptPool(exports: unknown): unknown {
    const prototype = prototypeWith(exports, ['connect', '_pulseQueue']);
    if (prototype === undefined) return exports;
    const connect = prototype['connect'] as Method;
    const [pools, gate] = [this.#pools, this.#gate];
    const observe = (pool: Pool): void => {
      pools.add(pool);
      // In a bundle the pool was given the class before it was observed.
      if (pool.Client === this.#Client) pool.Client = this.#Observed;
    };
    this.#poolConnect = connect;
    prototype['connect'] = function connectLater(this: Pool, callback?: unknown): unknown {
      observe(this);
      if (!gate.isClosed) return Reflect.apply(connect, this, [callback]);
      if (typeof callback === 'function') {
        gate.pass(() => {
          Reflect.apply(connect, this, [callback]);
        });
        return undefined;
      }
      return new Promise((resolve) => {
        gate.pass(() => resolve(Reflect.apply(connect, this, [])));
      });
    };
    return exports;
  }

  isIdle(): boolean {
    return this.#live().length === 0;
  }

  hold(): void {
    this.#gate.close();
  }

  release(): void {
    this.#gate.open();
    for (const client of this.#live()) if (client._connected) client._pulseQueryQueue();
  }

  busy(): Busy[] {
    return this.#live().flatMap((client) => {
      const isQuerying = isActive(client) || (client._sentQueryQueue?.length ?? 0) > 0;
      const waiting = queueOf(client).length;
      const { isInTransaction } = this.#sessionOf(client);
      const what = `a connection to ${String(client.user)}@${String(client.host)}:${String(client.port)}/${String(client.database)}`;
      if (client._connecting) return [{ what, work: 'connecting' }];
      if (isInTransaction) return [{ what, work: `a transaction${isQuerying ? ' with a query' : ''}` }];
      if (isQuerying) return [{ what, work: count(1 + waiting, 'query', 'queries') }];
      return [];
    });
  }

  async close(limitMs: number): Promise<void> {
    await Promise.all(this.#pools.all().map((pool) => this.#drain(pool, limitMs)));
  }

  wake(isClone: boolean): void {
    if (!isClone) return;
    for (const client of this.#live()) if (client._connected) this.#reconnect(client);
  }

  readonly #sessionOf = (client: Client): PgSession => {
    let session = this.#sessions.get(client);
    if (session === undefined) {
      session = new PgSession(postgresql);
      this.#sessions.set(client, session);
    }
    session.watch(client.connection);
    return session;
  };

  /** Clients that are connected or about to be. */
  #live(): Client[] {
    return this.#clients
      .all()
      .filter((one) => (one._connecting || one._connected) && !one._ended && !one._ending && one._queryable);
  }

  /** Takes all idle connections out of a pool and has it end them, with nothing but what its documentation promises. */
  async #drain(pool: Pool, limitMs: number): Promise<void> {
    const connect = this.#poolConnect;
    if (connect === undefined) return;
    const end = (): Promise<void> =>
      withLimit(limitMs, (done) => {
        const take = (error: unknown, client: Client, release: (destroy?: boolean) => void): void => {
          if (error) return done();
          client.once('end', done);
          release(true);
        };
        Reflect.apply(connect, pool, [take]);
      });
    await Promise.all(Array.from({ length: pool.idleCount }, end));
  }

  /** Gives a client, in a clone, a connection of its own. Queries wait in the client until it is there. */
  #reconnect(client: Client): void {
    const { connection } = client;
    const waiting = [...queueOf(client)];
    connection.removeAllListeners();
    connection.on('error', () => undefined);
    connection.stream.removeAllListeners();
    // What a dead connection has to say does not concern the client any more.
    connection.stream.on('error', () => undefined);
    connection.stream.destroy();
    if (this.#Client === undefined) return;
    rebuild(this.#Client, client);
    // Not set by the constructor, and still as the old connection left it: nothing may be sent before the new one is there.
    client.readyForQuery = false;
    queueOf(client).push(...waiting);
    const settings = this.#sessionOf(client).statements().join(';');
    const complain = (error: unknown): void => {
      // As the client would say it of a connection that breaks.
      if (error) client.emit('error', error);
    };
    client.connect((error) => {
      complain(error);
      if (error || settings === '') return;
      // Called before the first query is sent: the settings go ahead of what the program has asked for meanwhile.
      const queue = queueOf(client);
      const others = queue.splice(0);
      client.query(settings, complain);
      queue.push(...others);
    });
  }
}

/** In pg before 8.16 the names have no underscore; later ones warn of whoever uses the old ones. */
function queueOf(client: Client): unknown[] {
  const queue: unknown = client._queryQueue ?? Reflect.get(client, 'queryQueue');
  return Array.isArray(queue) ? queue : [];
}

function isActive(client: Client): boolean {
  const query: unknown = '_activeQuery' in client ? client._activeQuery : Reflect.get(client, 'activeQuery');
  return query !== null && query !== undefined;
}
