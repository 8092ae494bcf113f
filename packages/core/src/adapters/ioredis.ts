import type { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';
import { isBlocking, Watching } from './redis-commands.ts';
import { Gate } from './gate.ts';
import { count, prototypeWith } from './library.ts';
import type { Method } from './library.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy, Tracker } from './types.ts';

interface Command {
  readonly name: string;
  readonly args: readonly unknown[];
  readonly promise: Promise<unknown>;
}

/** What is used of a Redis (built/Redis.js of ioredis 5 and 6). */
interface Redis extends EventEmitter {
  readonly status: string;
  readonly stream?: Socket;
  readonly options: { host?: unknown; port?: unknown; path?: unknown; db?: unknown; retryStrategy?: unknown };
  readonly commandQueue: { toArray(): readonly { readonly command: Command }[] };
}

/** States in which there is a socket. */
const OPEN = new Set(['connect', 'ready', 'monitoring']);

/**
 * ioredis. Commands are waited for, but for those that wait themselves, as BLPOP does. The original keeps its connections; in a clone they
 * are connected anew, at once, by the library's own way, which subscribes and selects again.
 */
export function ioredisAdapter(): Adapter {
  const tracker = new IoredisTracker();
  return {
    name: 'ioredis',
    tracker,
    files: { 'ioredis/built/Redis.js': (exports) => tracker.adapt(exports) },
    adapt: (library) => {
      tracker.adapt(library);
      return library;
    },
  };
}

class IoredisTracker implements Tracker {
  readonly name = 'ioredis';
  readonly #gate = new Gate();
  readonly #all = new Tracked<Redis>();
  readonly #watching = new Watching();

  adapt(exports: unknown): unknown {
    const Redis: unknown =
      typeof exports === 'object' && exports !== null && 'default' in exports ? exports.default : exports;
    const prototype = prototypeWith(Redis, ['connect', 'sendCommand', 'disconnect']);
    if (prototype === undefined) return exports;
    const [connect, sendCommand] = [prototype['connect'] as Method, prototype['sendCommand'] as Method];
    const [all, gate, watching] = [this.#all, this.#gate, this.#watching];
    prototype['connect'] = function connectNoted(this: Redis, ...args: unknown[]): unknown {
      all.add(this);
      return Reflect.apply(connect, this, args);
    };
    prototype['sendCommand'] = function sendLater(
      this: Redis,
      command: Command,
      ...rest: unknown[]
    ): unknown {
      const send = (): unknown => {
        watching.note(this, command.name);
        return Reflect.apply(sendCommand, this, [command, ...rest]);
      };
      if (!gate.isClosed || watching.has(this) || this.status !== 'ready') return send();
      gate.pass(send);
      return command.promise;
    };
    return exports;
  }

  isIdle(): boolean {
    return this.#open().length === 0;
  }

  hold(): void {
    this.#gate.close();
  }

  release(): void {
    this.#gate.open();
  }

  busy(): Busy[] {
    return this.#open().flatMap((redis) => {
      const { host, port, path, db } = redis.options;
      const what = `a connection to ${typeof path === 'string' ? path : `${String(host)}:${String(port)}`}/${String(db)}`;
      if (this.#watching.has(redis)) return [{ what, work: 'a transaction' }];
      const commands = redis.commandQueue
        .toArray()
        .filter(({ command }) => !isBlocking(command.name, command.args));
      return commands.length === 0 ? [] : [{ what, work: count(commands.length, 'command', 'commands') }];
    });
  }

  close(): void {}

  wake(isClone: boolean): void {
    if (!isClone) return;
    for (const redis of this.#open()) {
      const { options } = redis;
      const { retryStrategy } = options;
      // The server is not down: the library neither has to wait nor to count this as a failure.
      options.retryStrategy = () => {
        options.retryStrategy = retryStrategy;
        return 0;
      };
      redis.stream?.destroy();
    }
  }

  #open(): Redis[] {
    return this.#all.all().filter(({ status, stream }) => OPEN.has(status) && stream?.destroyed === false);
  }
}
