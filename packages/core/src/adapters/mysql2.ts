import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { Gate } from './gate.ts';
import { count, prototypeWith, withLimit } from './library.ts';
import type { Method } from './library.ts';
import { isClass, observed, rebuild } from './rebuild.ts';
import { mysql, Session } from './session.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy, Tracker } from './types.ts';

/** What is used of a Connection (lib/base/connection.js of mysql2 3). */
interface Connection extends EventEmitter {
  readonly config: Readonly<Record<string, string | number | undefined>>;
  readonly stream: Socket;
  readonly _handshakePacket: unknown;
  readonly _fatalError: unknown;
  readonly _closing?: boolean;
  readonly _command?: object | null;
  readonly _commands: { readonly length: number };
  query(sql: string, callback: (error: unknown) => void): unknown;
  end(callback?: (error: unknown) => void): void;
}

/** What is used of a Pool (lib/base/pool.js). */
interface Pool {
  readonly _freeConnections: { readonly length: number };
  getConnection(callback: (error: unknown, connection: PoolConnection) => void): void;
}

interface PoolConnection extends Connection {
  _removeFromPool(): void;
  /** `end` of a connection that is in no pool. */
  _realEnd(callback: () => void): void;
}

const BEGIN = /^\s*(?:begin|start\s+transaction)\b|^\s*set\s+(?:session\s+|@@)?autocommit\s*=\s*(?:0|off)/i;
const END =
  /^\s*(?:commit|rollback(?!\s+(?:work\s+)?to\b))\b|^\s*set\s+(?:session\s+|@@)?autocommit\s*=\s*(?:1|on)/i;

/**
 * mysql2, for MariaDB and MySQL. Idle connections of pools are closed; one that the program holds keeps its session, and gets one of its own in a clone.
 */
export function mysql2Adapter(): Adapter {
  const tracker = new Mysql2Tracker();
  const connection = (exports: unknown): unknown => tracker.adaptConnection(exports);
  const pool = (exports: unknown): unknown => tracker.adaptPool(exports);
  return {
    name: 'mysql2',
    tracker,
    files: {
      'mysql2/lib/base/connection.js': connection,
      'mysql2/lib/base/pool.js': pool,
      // Before 3.12 there was no lib/base; since then these have nothing of their own to patch.
      'mysql2/lib/connection.js': connection,
      'mysql2/lib/pool.js': pool,
    },
  };
}

class Mysql2Tracker implements Tracker {
  readonly name = 'mysql2';
  readonly #gate = new Gate();
  readonly #connections = new Tracked<Connection>();
  readonly #pools = new Tracked<Pool>();
  readonly #sessions = new WeakMap<object, Session>();
  readonly #transactions = new WeakSet();
  /** What this adapter ends: nobody else has it any more. */
  readonly #ending = new WeakSet();
  #Connection: (abstract new (...args: never[]) => object) | undefined;
  #getConnection: Method | undefined;

  adaptConnection(exports: unknown): unknown {
    const prototype = prototypeWith(exports, ['addCommand', 'query', 'handlePacket']);
    // A class that is derived from one that is adapted already has none of its own.
    if (prototype === undefined || !isClass(exports) || !Object.hasOwn(prototype, 'addCommand'))
      return exports;
    const addCommand = prototype['addCommand'] as Method;
    const [gate, note, transactions, ending] = [this.#gate, this.#note, this.#transactions, this.#ending];
    this.#Connection = exports;
    prototype['addCommand'] = function addLater(this: Connection, command: { sql?: unknown }): unknown {
      const add = (): unknown => {
        note(this, command.sql);
        return Reflect.apply(addCommand, this, [command]);
      };
      if (!gate.isClosed || transactions.has(this) || ending.has(this) || !isReady(this)) return add();
      gate.pass(add);
      return command;
    };
    return observed(exports, (connection) => this.#connections.add(connection as Connection));
  }

  adaptPool(exports: unknown): unknown {
    const prototype = prototypeWith(exports, ['getConnection', 'releaseConnection']);
    if (prototype === undefined || !Object.hasOwn(prototype, 'getConnection')) return exports;
    const getConnection = prototype['getConnection'] as Method;
    const [pools, gate] = [this.#pools, this.#gate];
    this.#getConnection = getConnection;
    prototype['getConnection'] = function getLater(this: Pool, callback: unknown): void {
      pools.add(this);
      gate.pass(() => {
        Reflect.apply(getConnection, this, [callback]);
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
  }

  busy(): Busy[] {
    return this.#live().flatMap((connection) => {
      const { config } = connection;
      const place = config['socketPath'] ?? `${config['host']}:${config['port']}`;
      const what = `a connection to ${config['user']}@${place}/${config['database'] ?? ''}`;
      const commands = (connection._command ? 1 : 0) + connection._commands.length;
      if (this.#transactions.has(connection)) return [{ what, work: 'a transaction' }];
      if (!isReady(connection)) return [{ what, work: 'connecting' }];
      return commands === 0 ? [] : [{ what, work: count(commands, 'query', 'queries') }];
    });
  }

  async close(limitMs: number): Promise<void> {
    await Promise.all(this.#pools.all().map((pool) => this.#drain(pool, limitMs)));
  }

  wake(isClone: boolean): void {
    if (!isClone) return;
    for (const connection of this.#live()) this.#reconnect(connection);
  }

  readonly #note = (connection: Connection, sql: unknown): void => {
    if (typeof sql !== 'string') return;
    if (END.test(sql)) this.#transactions.delete(connection);
    else if (BEGIN.test(sql)) this.#transactions.add(connection);
    let session = this.#sessions.get(connection);
    if (session === undefined) {
      session = new Session(mysql);
      this.#sessions.set(connection, session);
    }
    session.note(sql);
  };

  #live(): Connection[] {
    return this.#connections
      .all()
      .filter((one) => !one.stream.destroyed && !one._fatalError && one._closing !== true);
  }

  async #drain(pool: Pool, limitMs: number): Promise<void> {
    const getConnection = this.#getConnection;
    if (getConnection === undefined) return;
    const end = (): Promise<void> =>
      withLimit(limitMs, (done) => {
        Reflect.apply(getConnection, pool, [
          (error: unknown, connection: PoolConnection) => {
            if (error) return done();
            this.#ending.add(connection);
            connection.stream.once('close', done);
            connection._removeFromPool();
            connection._realEnd(() => connection.stream.destroy());
          },
        ]);
      });
    await Promise.all(Array.from({ length: pool._freeConnections.length }, end));
  }

  /** Gives a connection, in a clone, a session of its own. Commands wait in the connection until it is there. */
  #reconnect(connection: Connection): void {
    if (this.#Connection === undefined) return;
    const { stream, config } = connection;
    stream.removeAllListeners();
    // What a dead connection has to say does not concern anybody any more.
    stream.on('error', () => undefined);
    stream.destroy();
    const settings = this.#sessions.get(connection)?.statements() ?? [];
    rebuild(this.#Connection, connection, [{ config }]);
    // Behind the handshake and before everything else; addCommand lets them pass, because the connection is not ready.
    for (const setting of settings) {
      connection.query(setting, (error) => error && connection.emit('error', error));
    }
  }
}

function isReady(connection: Connection): boolean {
  return connection._handshakePacket !== null && connection._handshakePacket !== undefined;
}
