import { createServer } from 'node:http';
import type { IncomingMessage, Server, ServerResponse } from 'node:http';
import type { ReforkEvent } from '../refork/index.ts';
import type { ServeStatus } from './status.ts';

/** What an operator may see and do. */
export interface Administered {
  status(): ServeStatus;
  feed(event: ReforkEvent): void;
}

/** What `POST /NAME` lets happen. */
const ORDERS: Readonly<Record<string, ReforkEvent>> = {
  '/reload': { type: 'reload' },
  '/reload?fresh': { type: 'reload', isFresh: true },
  '/refork': { type: 'refork' },
  '/stop': { type: 'stop' },
};

/** Returns an HTTP server for operators, which does not listen yet: GET /status, and POST /reload, /refork and /stop. */
export function adminServer(administered: Administered): Server {
  const server = createServer((request, response) => {
    const [status, type, text] = answer(administered, request);
    end(response, status, type, text);
  });
  server.requestTimeout = 5000;
  server.keepAliveTimeout = 1000;
  return server;
}

type Answer = readonly [status: number, type: string, text: string];

function answer(administered: Administered, { method, url = '/' }: IncomingMessage): Answer {
  const [path = '/'] = url.split('?');
  if (method === 'POST') {
    const event = ORDERS[url];
    if (event === undefined) return [404, 'text/plain', 'no such order\n'];
    administered.feed(event);
    return [202, 'application/json', '{}\n'];
  }
  if (method !== 'GET' && method !== 'HEAD') return [405, 'text/plain', 'GET or POST\n'];
  if (path === '/status') return [200, 'application/json', `${JSON.stringify(administered.status())}\n`];
  return [404, 'text/plain', 'not found\n'];
}

function end(response: ServerResponse, status: number, type: string, text: string): void {
  response.writeHead(status, {
    'Content-Type': `${type}; charset=utf-8`,
    'Content-Length': Buffer.byteLength(text),
    'Cache-Control': 'no-store',
    'X-Content-Type-Options': 'nosniff',
  });
  response.end(response.req.method === 'HEAD' ? undefined : text);
}
