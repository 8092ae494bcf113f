import type { Server as HttpServer } from 'node:http';
import type { Http2Session } from 'node:http2';
import type { Socket } from 'node:net';

import type { ServeWorker } from './serve-config.ts';
import { RequestCount } from './serve-count.ts';
import { ServeHooks } from './serve-hooks.ts';
import { Inspecting, ProcessTitle } from './serve-look.ts';
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
/** A worker whose supervisor is gone answers what it has, and ends after this time; the launcher kills it two seconds later. */
const ORPHAN_MS = 5000;
const LOG_MAX = 16_384;
const COMMAND_MAX = 4096;
/** How often the title of the process may change, in milliseconds. */
const TITLE_MS = 1000;
/** Where the supervisor listens. */
export const SERVE_VARIABLE = 'FORKPOINT_SERVE';

/** What an agent is made of. */
export interface AgentOptions {
  /** Where the supervisor listens. */
  readonly path: string;
  /** With them the program is being started: its listeners are moved, and those of port 0 have these ports. */
  readonly zeros: readonly number[] | undefined;
  /** The path of forkpoint.config. */
  readonly config: string | undefined;
  /** Returns the id of the run that this is. */
  readonly idOf: () => string;
}

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
  readonly #hooks = new ServeHooks((text) => this.#send({ log: text.slice(0, LOG_MAX) }));
  readonly #inspector = new Inspecting();
  readonly #title = new ProcessTitle();
  readonly #loaded: Promise<void>;
  #line: Socket | undefined;
  #generation = 0;
  #isDraining = false;
  #told = '';
  #toldAt = 0;
  #ticked = 0;
  #lagMs = 0;

  constructor({ path, zeros, config, idOf }: AgentOptions) {
    const isBoot = zeros !== undefined;
    this.#path = path;
    this.#loaded = config === undefined ? Promise.resolve() : this.#hooks.load(config);
    // Told with the announcement.
    this.#loaded.catch(() => undefined);
    this.#count.onComplete = (request) => {
      if (this.#hooks.has('afterRequestComplete'))
        void this.#hooks.run('afterRequestComplete', this.#worker(), request);
    };
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

  /** Grants a request more time than the limits say; returns whether it is under way. */
  grant(request: object, ms: number): boolean {
    return this.#count.grant(request, ms);
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
  async beforeCheckpoint(): Promise<void> {
    await this.#hooks.run('afterMoldFork', this.#worker());
    this.#inspector.pause();
    this.#line?.removeAllListeners('close').destroy();
    this.#line = undefined;
    collectYoungGarbage();
  }

  afterRestore({ generation, id, env }: HookContext): void {
    const isBorn = generation > 0 && id !== this.#born;
    if (isBorn) this.#beBorn(id, generation);
    // An image may be older than the server that it serves for now.
    this.#path = env[SERVE_VARIABLE] ?? this.#path;
    delete process.env[SERVE_VARIABLE];
    this.#inspector.resume(isBorn);
    this.#ticked = performance.now();
    this.#connect();
  }

  /** Id of the run that the counters are about. */
  #born = '';

  #beBorn(id: string, generation: number): void {
    this.#born = id;
    this.#generation = generation;
    this.#isBoot = false;
    this.#hasBegun = false;
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
        this.#obey(text.slice(0, end).split(' '));
    });
    line.on('error', () => undefined);
    line.once('connect', () => short.release());
    line.once('close', () => this.#orphaned());
    line.connect(short.path);
    line.unref();
    this.#line = line;
    const { node } = process.versions;
    this.#send({ run: this.#idOf(), pid: process.pid, generation: this.#generation, node });
    this.#announce();
  }

  /** Without the supervisor nobody would end this process; whom it has an answer for shall get it. */
  #orphaned(): void {
    this.#line = undefined;
    const end = (): boolean => process.kill(process.pid, 'SIGTERM');
    if (this.#isBoot || this.#isDrained) {
      end();
      return;
    }
    // What the supervisor wrote on has no reader any more.
    for (const stream of [process.stdout, process.stderr]) stream.on('error', () => undefined);
    this.#whenDrained = end;
    setTimeout(end, ORPHAN_MS).unref();
    this.#drain();
  }

  #isDrained = false;
  #whenDrained = (): unknown => this.#send({ drained: true });

  #send(message: object): void {
    this.#line?.write(`${JSON.stringify(message)}\n`);
  }

  #obey([word, value = '']: readonly string[]): void {
    if (word === 'drain') this.#drain();
    if (word === 'timeout') void this.#hooks.run('afterWorkerTimeout', this.#worker(), this.#count.oldest());
    if (word === 'inspect') this.#send({ inspect: this.#inspector.open(Number(value)) });
  }

  #worker(): ServeWorker {
    const { requests } = this.#count.counts();
    const number = Number(process.env['FORKPOINT_WORKER'] ?? 0);
    return { number, generation: this.#generation, requests, pid: process.pid };
  }

  /** A clone is ready once its hook has run, a program that is being started once it listens and adds no more servers. */
  #announce(): void {
    if (!this.#isBoot) {
      void this.#begin();
      return;
    }
    const { places } = this.#servers;
    const count = places.length;
    if (count === 0) return;
    setTimeout(() => {
      if (count !== places.length) return;
      this.#loaded.then(
        () => this.#send({ ready: true, places, reads: this.#reads.stop() }),
        (error: unknown) => this.#send({ failed: `forkpoint.config: ${String(error)}` }),
      );
    }, SETTLE_MS);
  }

  /** Whether the hooks of a new worker have run. */
  #hasBegun = false;

  async #begin(): Promise<void> {
    const isFirst = !this.#hasBegun;
    this.#hasBegun = true;
    const isFine = await this.#loaded.then(
      async () => !isFirst || (await this.#hooks.run('afterWorkerFork', this.#worker())),
      (error: unknown) => {
        this.#send({ log: `forkpoint.config: ${String(error)}` });
        return false;
      },
    );
    // What is written before goes first.
    if (!isFine) this.#line?.end(() => process.exit(1));
    else this.#send({ ready: true });
    if (isFine && isFirst) void this.#hooks.run('afterWorkerReady', this.#worker());
  }

  #tick(): void {
    const now = performance.now();
    this.#lagMs = Math.max(0, Math.round(now - this.#ticked - TELL_MS));
    this.#ticked = now;
    this.#tell();
    if (!this.#isBoot && now - this.#titledAt >= TITLE_MS) {
      this.#titledAt = now;
      this.#title.show(this.#worker());
    }
  }

  #titledAt = 0;

  #tell(): void {
    const now = performance.now();
    const counts = this.#count.counts();
    const told = JSON.stringify(counts);
    if (told === this.#told && now - this.#toldAt < TELL_ANYWAY_MS) return;
    this.#told = told;
    this.#toldAt = now;
    this.#send({ ...counts, lagMs: this.#lagMs, ...heapFacts() });
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
      void this.#hooks.run('beforeWorkerExit', this.#worker()).then(() => {
        this.#isDrained = true;
        this.#whenDrained();
      });
    }, 20);
  }
}

/** What prom-client tells of the heap, and how much code V8 has compiled; takes some ten microseconds. */
function heapFacts(): object {
  const { getHeapSpaceStatistics, getHeapStatistics } = process.getBuiltinModule('node:v8');
  const {
    total_heap_size: heapTotal,
    used_heap_size: heapUsed,
    external_memory: external,
  } = getHeapStatistics();
  const code = getHeapSpaceStatistics().find(({ space_name: name }) => name === 'code_space');
  return { heapTotal, heapUsed, external, codeBytes: code?.space_used_size ?? 0 };
}

/**
 * Takes the young garbage away, of which there is most. Not the old: V8 gives up optimized code when the objects in it, which
 * are most often shapes of objects that live for one request, are collected, and workers would have to compile it anew.
 */
function collectYoungGarbage(): void {
  const { setFlagsFromString } = process.getBuiltinModule('node:v8');
  const { runInNewContext } = process.getBuiltinModule('node:vm');
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') return;
  // What survives the first time is moved to the old generation by the second.
  for (let time = 0; time < 2; time++) Reflect.apply(collect, undefined, [{ type: 'minor' }]);
}
