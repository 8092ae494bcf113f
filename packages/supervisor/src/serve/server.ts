import { existsSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { newId } from '@forkpoint/store';
import { currentMold, initialState, next, readyWorkers } from '../refork/index.ts';
import type { ReforkAction, ReforkEvent, ReforkState } from '../refork/index.ts';
import { SupervisorError } from '../error.ts';
import { Addresses } from './addresses.ts';
import { adminServer } from './admin.ts';
import { Crew } from './crew.ts';
import type { Part } from './crew.ts';
import { History } from './history.ts';
import { isAnswered, listenAt, listenForLines } from './lines.ts';
import { Molds } from './molds.ts';
import type { MadeMold } from './molds.ts';
import type { ServeOptions } from './options.ts';
import type { ServeStatus } from './status.ts';
import { statusOf } from './status-of.ts';
import { parseLine, retold } from './told.ts';

const TICK_MS = 100;

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
  #attempt = 0;
  /** Whether the next cold start has to be one, whatever is kept. */
  #isFresh = false;
  /** Whether all workers have served at the same time: then the start is over. */
  #isComplete = false;
  #servers: Server[] = [];
  #end: (code: number) => void = () => undefined;

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#directory = join(options.home, 'serve', newId());
    this.#state = initialState(options.policy, performance.now());
    this.#molds = new Molds(options, this.#directory, this.#addresses);
    this.#crew = new Crew(options, this.#directory, this.#addresses, {
      over: (part, how) => {
        this.#history.ended(part);
        this.feed({ type: 'exited', worker: part.worker, how });
      },
      measured: (part) => this.#report(part),
    });
  }

  /** Serves until it is stopped; returns the exit code. */
  async serve(): Promise<number> {
    await removeAbandoned(dirname(this.#directory));
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    this.#servers = await this.#listen();
    const over = new AbortController();
    const timer = setInterval(() => this.feed({ type: 'tick' }), TICK_MS);
    try {
      const ended = new Promise<number>((resolve) => {
        this.#end = resolve;
      });
      this.feed({ type: 'tick' });
      void this.#crew.measure(over.signal);
      return await ended;
    } finally {
      clearInterval(timer);
      over.abort();
      for (const server of this.#servers) server.close();
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
    const [state, actions] = next(this.#state, event, performance.now());
    this.#state = state;
    for (const action of actions) this.#carryOut(action);
    const { workers } = state.policy;
    if (this.#isComplete || readyWorkers(state).length < workers) return;
    this.#isComplete = true;
    this.#options.log('info', workers === 1 ? '1 worker serves' : `${workers} workers serve`);
  }

  /** Returns what is the case now. */
  status(): ServeStatus {
    return statusOf({
      id: basename(this.#directory),
      options: this.#options,
      startedAt: this.#startedAt,
      isComplete: this.#isComplete,
      state: this.#state,
      crew: this.#crew,
      history: this.#history,
      addresses: this.#addresses.list(),
    });
  }

  async #listen(): Promise<Server[]> {
    const control = adminServer({ status: () => this.status(), feed: (event) => this.feed(event) });
    await listenAt(control, this.#path('c'));
    return [
      await listenForLines(this.#path('a'), (line, socket) => this.#hear(line, socket)),
      await listenForLines(this.#path('l'), (line) => this.#living(line)),
      control,
    ];
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
    if (message['ready'] === true) this.#announced(run, message);
    const part = this.#crew.ofRun(run);
    if (part === undefined) return;
    part.line = socket;
    part.told = retold(part.told, message);
    if (message['ready'] === true) {
      this.feed({ type: 'ready', worker: part.worker });
      void this.#crew.measureOne(part);
    }
    if (message['drained'] === true) this.feed({ type: 'drained', worker: part.worker });
    if (typeof message['requests'] === 'number') this.#report(part);
  }

  #announced(run: string, { places, reads }: Readonly<Record<string, unknown>>): void {
    const paths = Array.isArray(reads) ? reads.filter((one) => typeof one === 'string') : [];
    this.#molds.ready(run, { places, reads: paths });
  }

  #report({ worker, told, usage }: Part): void {
    const { requests, oldestMs } = told;
    this.feed({ type: 'heard', reports: [{ worker, requests, oldestMs, privateBytes: usage.privateBytes }] });
  }
}

/** Removes what servers that were killed have left; a living one answers at its socket. */
async function removeAbandoned(directory: string): Promise<void> {
  if (!existsSync(directory)) return;
  for (const name of readdirSync(directory)) {
    const path = join(directory, name);
    if (!(await isAnswered(join(path, 'l')))) rmSync(path, { recursive: true, force: true });
  }
}

/** Which run a connection is of. */
const RUN = Symbol('run');
