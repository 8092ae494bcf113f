import type { Server as HttpServer } from 'node:http';
import type { Http2Session } from 'node:http2';
import type { Socket } from 'node:net';

import { RequestCount } from './serve-count.ts';
import { methodOf, Servers } from './serve-listen.ts';
import { FileReads } from './serve-reads.ts';
import { shortPath } from './socket-path.ts';
import type { Context, HookContext, Resource } from './types.ts';

/** How often the supervisor hears of this process, in milliseconds, when there is news and when there is none. */
const TELL_MS = 100;
const TELL_ANYWAY_MS = 1000;
/** How long no server has to be added until the program counts as started. */
const SETTLE_MS = 50;
/** An idle connection is closed this long after its last request, when the process is to end. */
const IDLE_MS = 1000;
const COMMAND_MAX = 4096;
/** Where the supervisor listens. */
export const SERVE_VARIABLE = 'FORKPOINT_SERVE';

/**
 * The part of a re-forking server that lives in its workers: counts requests, tells the supervisor, and ends the
 * work on its servers when it is told to. In the program's first start it also moves listening sockets to free
 * addresses, since the real ones may be in use by workers of older code.
 */
export class ServeAgent implements Resource {
  #path: string;
  readonly #idOf: () => string;
  #isBoot: boolean;
  readonly #servers: Servers;
  readonly #sessions = new Set<Http2Session>();
  readonly #count = new RequestCount();
  readonly #reads = new FileReads();
  #line: Socket | undefined;
  #generation = 0;
  #isDraining = false;
  #told = '';
  #toldAt = 0;
  #ticked = 0;
  #lagMs = 0;

  /** With `zeros` the program is being started: its listeners are moved, and those of port 0 have these ports. */
  constructor(path: string, zeros: readonly number[] | undefined, idOf: () => string) {
    const isBoot = zeros !== undefined;
    this.#path = path;
    this.#isBoot = isBoot;
    this.#idOf = idOf;
    this.#servers = new Servers({
      isMoving: () => this.#isBoot,
      directory: () => this.#path.slice(0, this.#path.lastIndexOf('/')),
      zeros: zeros ?? [],
      moved: () => this.#announce(),
      session: (session) => {
        this.#count.watchSession(session);
        this.#sessions.add(session);
        session.once('close', () => this.#sessions.delete(session));
      },
    });
  }

  /** Begins to count, and connects to the supervisor, unless that comes with the end of a restore. */
  start(context: Context): void {
    context.register(this);
    if (this.#isBoot) {
      this.#reads.start();
      this.#connect();
    } else this.#servers.adopt();
    this.#ticked = performance.now();
    setInterval(() => this.#tick(), TELL_MS).unref();
  }

  /** What was garbage would be copied by every worker; the supervisor belongs to the original. */
  beforeCheckpoint(): void {
    this.#line?.removeAllListeners('close').destroy();
    this.#line = undefined;
    collectGarbage();
  }

  afterRestore({ generation, id, env }: HookContext): void {
    if (generation > 0 && id !== this.#born) this.#beBorn(id, generation);
    // An image may be older than the server that it serves for now.
    this.#path = env[SERVE_VARIABLE] ?? this.#path;
    delete process.env[SERVE_VARIABLE];
    this.#ticked = performance.now();
    this.#connect();
  }

  /** Id of the run that the counters are about. */
  #born = '';

  #beBorn(id: string, generation: number): void {
    this.#born = id;
    this.#generation = generation;
    this.#isBoot = false;
    this.#count.reset();
    this.#told = '';
  }

  #connect(): void {
    if (this.#line !== undefined) return;
    const { Socket: NetSocket } = process.getBuiltinModule('node:net');
    const short = shortPath(this.#path);
    const line = new NetSocket();
    line.setEncoding('utf8');
    let text = '';
    line.on('data', (more: string) => {
      text = (text + more).slice(-COMMAND_MAX);
      for (let end: number; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1))
        if (text.slice(0, end) === 'drain') this.#drain();
    });
    line.on('error', () => undefined);
    line.once('connect', () => short.release());
    // Without the supervisor nobody would end this process.
    line.once('close', () => process.kill(process.pid, 'SIGTERM'));
    line.connect(short.path);
    line.unref();
    this.#line = line;
    const { node } = process.versions;
    this.#send({ run: this.#idOf(), pid: process.pid, generation: this.#generation, node });
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
    const { places } = this.#servers;
    const count = places.length;
    if (count === 0) return;
    setTimeout(() => {
      if (count === places.length) this.#send({ ready: true, places, reads: this.#reads.stop() });
    }, SETTLE_MS);
  }

  #tick(): void {
    const now = performance.now();
    this.#lagMs = Math.max(0, Math.round(now - this.#ticked - TELL_MS));
    this.#ticked = now;
    this.#tell();
  }

  #tell(): void {
    const now = performance.now();
    const told = JSON.stringify(this.#count.counts());
    if (told === this.#told && now - this.#toldAt < TELL_ANYWAY_MS) return;
    this.#told = told;
    this.#toldAt = now;
    this.#line?.write(`${told.slice(0, -1)},"lagMs":${this.#lagMs}}\n`);
  }

  /** Accepts nothing new, and lets every connection end after the request that it has or is just sending. */
  #drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    const { Server: NetServer } = process.getBuiltinModule('node:net');
    const started = performance.now();
    const servers = [...this.#servers.all];
    let open = servers.length;
    // The close of http.Server would also close idle connections, on which a request may be under way.
    const close = methodOf(NetServer.prototype, 'close');
    for (const server of servers) Reflect.apply(close, server, [() => void open--]);
    this.#count.close();
    // GOAWAY tells a client which of its streams will still be answered.
    for (const session of this.#sessions) session.close();
    const timer = setInterval(() => {
      this.#tell();
      // After the next look at the sockets: a request may have come while this process had to wait.
      setImmediate(() => {
        const quiet = performance.now() - Math.max(started, this.#count.last);
        if (open === 0 || this.#count.counts().active > 0 || quiet < IDLE_MS) return;
        for (const server of servers) (server as HttpServer).closeIdleConnections?.();
      });
      if (open > 0) return;
      clearInterval(timer);
      this.#send({ drained: true });
    }, 20);
  }
}

function collectGarbage(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  const { runInNewContext } = process.getBuiltinModule('node:vm');
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect === 'function') Reflect.apply(collect, undefined, []);
}
