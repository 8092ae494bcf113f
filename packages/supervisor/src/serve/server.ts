import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { Server as HttpServer } from 'node:http';
import type { Server, Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { newId } from '@forkpoint/store';
import { currentMold, initialState, next } from '../refork/index.ts';
import type { ReforkAction, ReforkEvent, ReforkState } from '../refork/index.ts';
import { SupervisorError } from '../error.ts';
import { Addresses } from './addresses.ts';
import { adminServer } from './admin.ts';
import { Crew, ORPHAN_MS } from './crew.ts';
import type { Part } from './crew.ts';
import { History } from './history.ts';
import { isAnswered, listenAt, listenForLines, listenOn } from './lines.ts';
import { metricsOf } from './metrics.ts';
import { Molds } from './molds.ts';
import type { MadeMold } from './molds.ts';
import { Monitor } from './monitor.ts';
import { Notifier } from './notify.ts';
import type { ServeOptions } from './options.ts';
import type { ServeStatus } from './status.ts';
import { statusOf } from './status-of.ts';
import { parseLine, retold } from './told.ts';

const TICK_MS = 100;
/** From the end of a process to the kernel having closed what it had, beside much other work. */
const SETTLE_MS = 1000;

/** What the refork policy decides, done: processes, images, sockets. */
export class ReforkServer {
  readonly #options: ServeOptions;
  readonly #directory: string;
  readonly #startedAt = new Date();
  readonly #addresses = new Addresses();
  readonly #history = new History();
  readonly #molds: Molds;
  readonly #crew: Crew;
  #state: ReforkState;
  readonly #notifier: Notifier;
  readonly #monitor: Monitor;
  #attempt = 0;
  /** Whether the next cold start has to be one, whatever is kept. */
  #isFresh = false;
  readonly #servers: Server[] = [];
  #end: (code: number) => void = () => undefined;

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#directory = join(options.home, 'serve', newId());
    this.#state = initialState(options.policy, performance.now());
    this.#notifier = new Notifier(options.launcher, options.manager, (text) => options.log('warning', text));
    this.#molds = new Molds(options, this.#directory, this.#addresses);
    this.#crew = new Crew(options, this.#directory, this.#addresses, {
      over: (part, how) => {
        this.#history.ended(part);
        this.feed({ type: 'exited', worker: part.worker, how });
      },
      measured: (part) => this.#report(part),
    });
    this.#monitor = new Monitor(options, this.#crew, this.#notifier, () => this.#addresses.list());
  }

  /** Serves until it is stopped; returns the exit code. */
  async serve(): Promise<number> {
    const isSuccessor = await removeAbandoned(dirname(this.#directory));
    // Workers of a server that was killed a moment ago may still answer what they have.
    if (isSuccessor) this.#addresses.expectBusy(ORPHAN_MS + SETTLE_MS);
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    this.#addresses.inherit(this.#options.manager.sockets);
    const over = new AbortController();
    let timer: NodeJS.Timeout | undefined;
    try {
      await this.#listen();
      timer = setInterval(() => this.feed({ type: 'tick' }), TICK_MS);
      const ended = new Promise<number>((resolve) => {
        this.#end = resolve;
      });
      this.feed({ type: 'tick' });
      void this.#crew.measure(over.signal);
      return await ended;
    } finally {
      clearInterval(timer);
      over.abort();
      this.#notifier.end();
      for (const server of this.#servers) {
        server.close();
        if (server instanceof HttpServer) server.closeAllConnections();
      }
      this.#molds.kill();
      this.#addresses.close();
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  /** Lets an event happen. */
  feed(event: ReforkEvent): void {
    if (event.type === 'reload' && this.#state.phase === 'serving') {
      this.#history.reloads++;
      this.#isFresh = event.isFresh === true;
    }
    const before = this.#state;
    const [state, actions] = next(before, event, performance.now());
    this.#state = state;
    for (const action of actions) this.#carryOut(action);
    this.#monitor.look(before, state);
  }

  /** Returns what is the case now. */
  status(): ServeStatus {
    return statusOf({
      id: basename(this.#directory),
      options: this.#options,
      startedAt: this.#startedAt,
      isComplete: this.#monitor.isComplete,
      state: this.#state,
      crew: this.#crew,
      history: this.#history,
      addresses: this.#addresses.list(),
    });
  }

  async #listen(): Promise<void> {
    const administered = {
      status: () => this.status(),
      metrics: () => metricsOf(this.status(), this.#crew, this.#history),
      feed: (event: ReforkEvent) => this.feed(event),
      inspect: async (slot: number, port: number) => await this.#crew.inspect(slot, port),
    };
    const control = adminServer(administered, true);
    this.#servers.push(control);
    await listenAt(control, this.#path('c'));
    this.#servers.push(
      await listenForLines(this.#path('a'), (line, socket) => this.#hear(line, socket)),
      await listenForLines(this.#path('l'), (line) => this.#living(line)),
    );
    const { admin } = this.#options;
    if (admin === null) return;
    const page = adminServer(administered, false);
    this.#servers.push(page);
    this.#options.log('info', `status at http://${await listenOn(page, admin)}/`);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  #carryOut(action: ReforkAction): void {
    switch (action.type) {
      case 'boot':
        return this.#make(action.mold, null, async (attempt) => {
          return await this.#molds.boot(action.release, this.#isFresh, () => attempt === this.#attempt);
        });
      case 'capture':
        return this.#capture(action.mold, action.worker);
      case 'abandon':
        this.#attempt++;
        this.#molds.kill();
        return;
      case 'start':
        return this.#start(action);
      case 'drain':
        this.#crew.get(action.worker)?.line?.write('drain\n');
        return;
      case 'end':
        this.#crew.get(action.worker)?.process.kill(action.signal);
        return;
      case 'remove':
        return this.#molds.remove(action.mold);
      case 'log':
        return this.#options.log(action.level, action.text);
      case 'exit':
        return this.#end(action.code);
    }
  }

  #capture(mold: number, worker: number): void {
    const part = this.#crew.get(worker);
    const from = currentMold(this.#state)?.id ?? -1;
    this.#make(mold, from, async () => {
      if (part === undefined) throw new SupervisorError('ERR_FORKPOINT_ENDED', 'the worker is gone');
      return { made: await this.#molds.capture(part.run, from), source: `worker ${worker}` };
    });
  }

  /** Makes an image, and tells the policy unless that has given it up meanwhile. */
  #make(
    mold: number,
    parent: number | null,
    make: (attempt: number) => Promise<{ made: MadeMold; source: string }>,
  ): void {
    const attempt = ++this.#attempt;
    make(attempt).then(
      ({ made, source }) => {
        if (attempt !== this.#attempt) {
          this.#molds.discard(made);
          return;
        }
        this.#molds.keep(mold, made);
        this.feed({ type: 'made', bytes: made.bytes, source });
        const known = this.#state.molds.find(({ id }) => id === mold);
        if (known !== undefined) this.#history.made(known, parent);
      },
      (error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        if (attempt === this.#attempt) this.feed({ type: 'makingFailed', reason });
      },
    );
  }

  #start({ worker, slot, mold }: ReforkAction & { readonly type: 'start' }): void {
    this.#crew.start(worker, slot, this.#molds.get(mold)).catch((error: unknown) => {
      const how = `because it could not be started: ${error instanceof Error ? error.message : String(error)}`;
      this.feed({ type: 'exited', worker, how });
    });
  }

  /** The life line of a worker: it only has to stay open. What is said about a failed start goes to the log. */
  #living(line: string): void {
    if (!/^(\d+ life|started |exited )/.test(line) && line.trim() !== '') this.#options.log('warning', line);
  }

  /** A line of the program itself: who it is, then how it is. */
  #hear(line: string, socket: Socket): void {
    const message = parseLine(line);
    if (typeof message['run'] === 'string') Reflect.set(socket, RUN, message['run']);
    const run: unknown = Reflect.get(socket, RUN);
    if (typeof run !== 'string') return;
    if (message['ready'] === true || typeof message['failed'] === 'string') this.#announced(run, message);
    const part = this.#crew.ofRun(run);
    if (part === undefined) return;
    part.line = socket;
    part.told = retold(part.told, message);
    if (message['ready'] === true) {
      this.feed({ type: 'ready', worker: part.worker });
      void this.#crew.measureOne(part);
    }
    if (message['drained'] === true) this.feed({ type: 'drained', worker: part.worker });
    if (typeof message['requests'] === 'number') {
      this.#report(part);
      // It may have been ready before its launcher had noted who it is.
      if (part.hostPid === null) void this.#crew.measureOne(part);
    }
    if (typeof message['log'] === 'string')
      this.#options.log('info', `worker ${part.worker}: ${message['log']}`);
    if (typeof message['inspect'] === 'string') part.inspected?.(message['inspect']);
  }

  #announced(run: string, { places, reads, failed }: Readonly<Record<string, unknown>>): void {
    const paths = Array.isArray(reads) ? reads.filter((one) => typeof one === 'string') : [];
    this.#molds.ready(run, { places, reads: paths, failed: typeof failed === 'string' ? failed : null });
  }

  #report({ worker, told, usage, isInspected }: Part): void {
    const { requests, codeBytes } = told;
    // Whoever looks at a worker may make it stand still.
    const oldestMs = isInspected ? 0 : told.oldestMs;
    const { privateBytes } = usage;
    this.feed({ type: 'heard', reports: [{ worker, requests, oldestMs, privateBytes, codeBytes }] });
  }
}

/** Removes what servers that were killed have left, and tells whether there was any; a living one answers at its socket. */
async function removeAbandoned(directory: string): Promise<boolean> {
  let isFound = false;
  if (!existsSync(directory)) return isFound;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (await isAnswered(join(path, 'l'))) continue;
    isFound = true;
    rmSync(path, { recursive: true, force: true });
  }
  return isFound;
}

/** Which run a connection is of. */
const RUN = Symbol('run');
