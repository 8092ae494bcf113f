import type { IncomingMessage, Server } from 'node:http';
import type { AddressInfo } from 'node:net';

/** How often each request is made: from the second time on V8 knows the types. */
const TIMES = 4;
const LIMIT_MS = 5000;
/** Where undici, that of Node.js and the package, keeps the dispatcher of fetch (its lib/global.js). */
const DISPATCHERS = [Symbol.for('undici.globalDispatcher.2'), Symbol.for('undici.globalDispatcher.1')];
const UNDICI = /[/\\]undici[/\\]lib[/\\]global\.js$/;
const HEADERS = { 'content-type': 'application/json' };
const BODY = JSON.stringify({ text: 'a rehearsal', list: [1, 2, 3] });

/** Whether something that was imported serves or asks over HTTP: only then is there anything to rehearse. */
export function usesNetwork(): boolean {
  const loaded: unknown = Reflect.get(process, 'moduleLoadList');
  return Array.isArray(loaded) && loaded.includes('NativeModule _http_server');
}

/**
 * Has Node's own server, client and `fetch` talk to each other on the loopback interface, so that no clone has to compile them. All is
 * closed when it resolves. Throws an Error when something is not answered as it should be, or within its limit.
 */
export async function rehearseNetwork(): Promise<void> {
  const http = process.getBuiltinModule('node:http');
  const server = http.createServer((request, response) => void answer(request, response));
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(0, '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  const agent = new http.Agent({ keepAlive: true });
  try {
    for (let time = 0; time < TIMES; time++) await askByHttp(http, agent, port);
    // The dispatcher of the package serves fetch as well, and what it keeps of a request is the program's.
    if (!isPackageLoaded) {
      for (let time = 0; time < TIMES; time++) await askByFetch(`http://127.0.0.1:${port}/`);
    }
  } finally {
    agent.destroy();
    await close(server);
    // Noted once the bodies are read to their end.
    performance.clearResourceTimings();
  }
}

async function answer(request: IncomingMessage, response: import('node:http').ServerResponse): Promise<void> {
  let text = '';
  request.setEncoding('utf8');
  for await (const part of request) text += String(part);
  response.statusCode = 200;
  for (const [name, value] of Object.entries(HEADERS)) response.setHeader(name, value);
  response.end(text === '' ? BODY : text);
}

async function askByHttp(
  http: typeof import('node:http'),
  agent: import('node:http').Agent,
  port: number,
): Promise<void> {
  for (const method of ['GET', 'POST']) {
    const text = await new Promise<string>((resolve, reject) => {
      const options = { host: '127.0.0.1', port, method, agent, headers: HEADERS, timeout: LIMIT_MS };
      const request = http.request(options, (response) => {
        let all = '';
        response.setEncoding('utf8');
        response.on('data', (part: string) => (all += part));
        response.once('end', () => resolve(all));
      });
      request.once('error', reject);
      request.once('timeout', () => request.destroy(new Error('no answer')));
      request.end(method === 'POST' ? BODY : undefined);
    });
    if (text !== BODY) throw new Error('a rehearsed request was answered otherwise');
  }
}

async function askByFetch(url: string): Promise<void> {
  const posted = await fetch(url, { method: 'POST', headers: HEADERS, body: BODY });
  const answered: unknown = await posted.json();
  const got = await (await fetch(url)).text();
  if (JSON.stringify(answered) !== BODY || got !== BODY)
    throw new Error('a rehearsed request was answered otherwise');
}

/** Whether a copy of the package undici has been loaded. */
let isPackageLoaded = false;

/**
 * The package undici leaves the dispatcher that it finds, and in a worker that has fetched nothing it finds none. A mold has one, since
 * what it looks at loads Node's own undici; from now on the first copy of the package finds none all the same.
 */
export function leavePlaceForUndici(): void {
  const { Module } = process.getBuiltinModule('node:module') as unknown as {
    Module: { prototype: { load(this: unknown, path: string): unknown } };
  };
  const load: unknown = Reflect.get(Module.prototype, 'load');
  if (typeof load !== 'function') return;
  Module.prototype.load = function (this: unknown, path) {
    if (isPackageLoaded || !UNDICI.test(path)) return Reflect.apply(load, this, [path]) as unknown;
    isPackageLoaded = true;
    const found = DISPATCHERS.map((name) => [name, Reflect.get(globalThis, name) as unknown] as const);
    for (const [name, own] of found) if (own !== undefined) Reflect.set(globalThis, name, undefined);
    const loaded: unknown = Reflect.apply(load, this, [path]);
    for (const [name, own] of found)
      if (own !== undefined && Reflect.get(globalThis, name) === undefined)
        Reflect.set(globalThis, name, own);
    return loaded;
  };
}

async function close(server: Server): Promise<void> {
  const closed = new Promise<void>((resolve) => server.close(() => resolve()));
  server.closeAllConnections();
  await closed;
}
