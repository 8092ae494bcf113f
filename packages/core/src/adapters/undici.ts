import type { Socket } from 'node:net';
import { Gate } from './gate.ts';
import { Tracked } from './tracked.ts';
import type { Adapter, Busy } from './types.ts';

/** What undici publishes of a request. */
interface Request {
  readonly origin?: unknown;
  readonly method?: unknown;
  readonly upgrade?: unknown;
}

/** Where undici keeps the dispatcher of fetch, that of Node.js as that of the package (lib/global.js). */
const GLOBAL = [Symbol.for('undici.globalDispatcher.2'), Symbol.for('undici.globalDispatcher.1')];

/**
 * undici, the one inside of Node.js that makes fetch as well as the package, by the diagnostics channels that both publish to. The
 * original keeps its sockets; in a clone they are destroyed before anybody can use them, and clients open others.
 */
export function undiciAdapter(): Adapter {
  const gate = new Gate();
  const sockets = new Tracked<Socket>();
  const running = new Set<Request>();
  const patched = new WeakSet();

  const patch = (prototype: object): void => {
    if (patched.has(prototype)) return;
    patched.add(prototype);
    holdDispatches(prototype, gate);
  };
  const tracker = {
    name: 'undici',
    isIdle: () => running.size === 0 && sockets.all().every((socket) => socket.destroyed),
    hold: () => gate.close(),
    release: () => gate.open(),
    busy: () => underWay(running),
    close: (): void => undefined,
    wake: (isClone: boolean): void => {
      if (isClone) for (const socket of sockets.all()) socket.destroy();
    },
  };
  return {
    name: 'undici',
    tracker,
    files: {
      'undici/lib/dispatcher/dispatcher-base.js': (exports) => {
        if (typeof exports === 'function' && typeof exports.prototype === 'object') patch(exports.prototype);
        return exports;
      },
    },
    start: () => {
      listen({
        'undici:request:create': ({ request }) => {
          // A connection that is to be the program's own has no end that undici would tell of.
          if (request.method !== 'CONNECT' && !request.upgrade) running.add(request);
          patchGlobal(patch);
        },
        'undici:request:trailers': ({ request }) => running.delete(request),
        'undici:request:error': ({ request }) => running.delete(request),
        'undici:client:connected': ({ socket }) => sockets.add(socket),
        'undici:client:sendHeaders': ({ request, socket }) => {
          if (request.method === 'CONNECT' || request.upgrade) sockets.delete(socket);
        },
      });
    },
  };
}

type Message = { readonly request: Request; readonly socket: Socket };

function listen(listeners: Readonly<Record<string, (message: Message) => void>>): void {
  const { subscribe } = process.getBuiltinModule('node:diagnostics_channel');
  for (const [name, listener] of Object.entries(listeners)) {
    subscribe(name, (message) => listener(message as Message));
  }
}

function patchGlobal(patch: (prototype: object) => void): void {
  for (const symbol of GLOBAL) {
    let object: unknown = Reflect.get(globalThis, symbol);
    while (typeof object === 'object' && object !== null && !Object.hasOwn(object, 'dispatch')) {
      object = Object.getPrototypeOf(object);
    }
    if (typeof object === 'object' && object !== null) patch(object);
  }
}

function holdDispatches(prototype: object, gate: Gate): void {
  const dispatch: unknown = Reflect.get(prototype, 'dispatch');
  if (typeof dispatch !== 'function') return;
  Reflect.set(prototype, 'dispatch', function dispatchLater(this: unknown, ...args: unknown[]): unknown {
    if (!gate.isClosed) return Reflect.apply(dispatch, this, args);
    gate.pass(() => {
      Reflect.apply(dispatch, this, args);
    });
    // As from a dispatcher that has taken the request and would take more.
    return true;
  });
}

function underWay(running: ReadonlySet<Request>): Busy[] {
  const counts = new Map<string, number>();
  for (const { origin } of running) {
    const to = typeof origin === 'string' || origin instanceof URL ? String(origin) : 'a server';
    counts.set(to, (counts.get(to) ?? 0) + 1);
  }
  return [...counts].map(([to, count]) => ({
    what: `connections to ${to}`,
    work: `${count} ${count === 1 ? 'request' : 'requests'}`,
  }));
}
