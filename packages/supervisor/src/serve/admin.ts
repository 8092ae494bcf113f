import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import { isIP } from 'node:net';
import type { ReforkEvent } from '../refork/index.ts';
import { PAGE } from './page.ts';
import type { ServeStatus } from './status.ts';

/** How often a page hears of the server, and how many pages may be open. */
const EVENTS_MS = 1000;
const EVENTS_MAX = 32;

/** What an operator may see and do. */
export interface Administered {
  status(): ServeStatus;
  metrics(): string;
  feed(event: ReforkEvent): void;
  /** Opens the debugger of a worker; returns its address. Rejects when there is no such worker. */
  inspect(slot: number, port: number): Promise<string>;
}

/** What `POST /NAME` lets happen. */
const ORDERS: Readonly<Record<string, ReforkEvent>> = {
  '/reload': { type: 'reload' },
  '/reload?fresh': { type: 'reload', isFresh: true },
  '/refork': { type: 'refork' },
  '/stop': { type: 'stop' },
};

type Answer = readonly [status: number, type: string, text: string];

/**
 * Returns an HTTP server for operators, which does not listen yet: a page, /status, /events, /metrics, /livez and /readyz.
 * Orders are taken only with `takesOrders`: at the socket that nobody but the user can open.
 */
export function adminServer(administered: Administered, takesOrders: boolean): Server {
  let streams = 0;
  const server = createServer((request, response) => {
    const { method, url = '/' } = request;
    if (method === 'POST') {
      void takeOrder(administered, url, takesOrders).then((answer) => end(response, answer));
      return;
    }
    if (url !== '/events' || streams >= EVENTS_MAX || !isLocal(request)) {
      end(response, method === 'GET' || method === 'HEAD' ? answer(administered, request) : NOT_ALLOWED);
      return;
    }
    streams++;
    response.once('close', () => streams--);
    stream(administered, response);
  });
  server.requestTimeout = 5000;
  server.keepAliveTimeout = 1000;
  return server;
}

const NOT_ALLOWED: Answer = [405, 'text/plain', 'GET\n'];
const NOT_FOUND: Answer = [404, 'text/plain', 'there are: / /status /events /metrics /livez /readyz\n'];

async function takeOrder(administered: Administered, url: string, takesOrders: boolean): Promise<Answer> {
  if (!takesOrders) return [403, 'text/plain', 'orders are taken by forkpoint serve on the same machine\n'];
  const event = ORDERS[url];
  if (event !== undefined) {
    administered.feed(event);
    return [202, 'application/json', '{}\n'];
  }
  const [, slot, port] = /^\/inspect\?worker=(\d{1,4})&port=(\d{1,5})$/.exec(url) ?? [];
  if (slot === undefined) return [404, 'text/plain', 'there is no such order\n'];
  try {
    return [200, 'text/plain', `${await administered.inspect(Number(slot), Number(port))}\n`];
  } catch (error) {
    return [409, 'text/plain', `${error instanceof Error ? error.message : String(error)}\n`];
  }
}

function answer(administered: Administered, request: IncomingMessage): Answer {
  const [path = '/'] = (request.url ?? '/').split('?');
  // Probes come with any name, and what they learn is a word.
  if (path === '/livez' || path === '/healthz') return [200, 'text/plain', 'ok\n'];
  if (path === '/readyz') {
    const { phase, workers } = administered.status();
    const ready = workers.filter(({ state }) => state === 'ready').length;
    return [phase === 'serving' && ready > 0 ? 200 : 503, 'text/plain', `${phase}, ${ready} ready\n`];
  }
  if (path === '/metrics') return [200, 'text/plain; version=0.0.4', administered.metrics()];
  if (!isLocal(request)) return [421, 'text/plain', 'this page is for localhost or an address\n'];
  if (path === '/status') return [200, 'application/json', `${JSON.stringify(administered.status())}\n`];
  return path === '/' ? [200, 'text/html', PAGE] : NOT_FOUND;
}

/** Whether the request names no domain: a page of somebody else's whose domain leads here would. */
function isLocal({ headers }: IncomingMessage): boolean {
  const host = (headers.host ?? 'localhost').replace(/:\d+$/, '').replace(/^\[(.*)\]$/, '$1');
  return host === 'localhost' || isIP(host) !== 0;
}

function stream(administered: Administered, response: ServerResponse): void {
  response.writeHead(200, { 'Content-Type': 'text/event-stream', 'Cache-Control': 'no-store' });
  const send = (): void => {
    // Who reads too slowly hears less.
    if (!response.writableNeedDrain) response.write(`data: ${JSON.stringify(administered.status())}\n\n`);
  };
  send();
  const timer = setInterval(send, EVENTS_MS);
  response.once('close', () => clearInterval(timer));
}

function end(response: ServerResponse, [status, type, text]: Answer): void {
  response.writeHead(status, {
    'Content-Type': `${type}; charset=utf-8`,
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
    'Content-Security-Policy':
      "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'; img-src data:; frame-ancestors 'none'",
  });
  response.end(response.req.method === 'HEAD' ? undefined : text);
}
