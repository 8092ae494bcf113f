import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import type { Server, Socket } from 'node:net';
import { basename, dirname, join } from 'node:path';
import { encodeChildPlan } from '@forkpoint/manifest';
import { askCheckpoint, findRun, newId, readManifest } from '@forkpoint/store';
import { currentMold, initialState, next, readyWorkers } from '../refork/index.ts';
import type { ReforkAction, ReforkEvent, ReforkPolicy, ReforkState } from '../refork/index.ts';
import { Addresses } from './addresses.ts';
import type { Address } from './addresses.ts';
import { SupervisorError } from '../error.ts';
import { isAnswered, listenForLines } from './lines.ts';

const TICK_MS = 100;

/** What a re-forking server is made of. */
export interface ServeOptions {
  readonly policy: ReforkPolicy;
  /** The data directory, and where runs lie in it. */
  readonly home: string;
  readonly runs: string;
  readonly launcher: string;
  /** The argument vector of the checkpoint worker. */
  readonly worker: readonly string[];
  /** Writes the plan of a run of the program with these variables; returns its path, in the directory of the run. */
  prepare(env: Readonly<Record<string, string>>): Promise<string>;
  log(level: 'info' | 'warning', text: string): void;
}

/** A process tree that belongs to the server: a worker, or the program while it is started. */
interface Part {
  readonly run: string;
  readonly process: ChildProcess;
  line: Socket | undefined;
}

interface Listening {
  readonly wanted: Address;
  readonly port: number;
}

/** What the refork policy decides, done: processes, images, sockets. */
export class ReforkServer {
  readonly #options: ServeOptions;
  readonly #directory: string;
  readonly #addresses = new Addresses();
  readonly #workers = new Map<number, Part>();
  readonly #molds = new Map<number, { readonly image: string; readonly listening: readonly Listening[] }>();
  readonly #onReady = new Map<string, (places: unknown) => void>();
  #state: ReforkState;
  #attempt = 0;
  /** Whether all workers have served at the same time: then the start is over. */
  #isComplete = false;
  #boot: ChildProcess | undefined;
  #servers: Server[] = [];
  #end: (code: number) => void = () => undefined;

  constructor(options: ServeOptions) {
    this.#options = options;
    this.#directory = join(options.home, 'serve', newId());
    this.#state = initialState(options.policy, performance.now());
  }

  /** Serves until it is stopped; returns the exit code. */
  async serve(): Promise<number> {
    await removeAbandoned(dirname(this.#directory));
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    this.#servers = await Promise.all([
      listenForLines(this.#path('a'), (line, socket) => this.#hear(line, socket)),
      listenForLines(this.#path('l'), (line) => this.#living(line)),
    ]);
    const timer = setInterval(() => this.feed({ type: 'tick' }), TICK_MS);
    try {
      const ended = new Promise<number>((resolve) => {
        this.#end = resolve;
      });
      this.feed({ type: 'tick' });
      return await ended;
    } finally {
      clearInterval(timer);
      for (const server of this.#servers) server.close();
      this.#boot?.kill('SIGKILL');
      this.#addresses.close();
      rmSync(this.#directory, { recursive: true, force: true });
    }
  }

  /** Lets an event happen. */
  feed(event: ReforkEvent): void {
    const [state, actions] = next(this.#state, event, performance.now());
    this.#state = state;
    for (const action of actions) this.#carryOut(action);
    const { workers } = state.policy;
    if (this.#isComplete || readyWorkers(state).length < workers) return;
    this.#isComplete = true;
    this.#options.log('info', workers === 1 ? '1 worker serves' : `${workers} workers serve`);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  #carryOut(action: ReforkAction): void {
    switch (action.type) {
      case 'boot':
        return this.#make(action.mold, (attempt) => this.#bootMold(action.mold, attempt));
      case 'capture':
        return this.#make(action.mold, () => this.#captureMold(action.mold, action.worker));
      case 'abandon':
        this.#attempt++;
        this.#boot?.kill('SIGKILL');
        return;
      case 'start':
        return this.#start(action);
      case 'drain':
        this.#workers.get(action.worker)?.line?.write('drain\n');
        return;
      case 'end':
        this.#workers.get(action.worker)?.process.kill(action.signal);
        return;
      case 'remove':
        rmSync(this.#path(`image-${action.mold}`), { recursive: true, force: true });
        this.#molds.delete(action.mold);
        return;
      case 'log':
        return this.#options.log(action.level, action.text);
      case 'exit':
        return this.#end(action.code);
    }
  }

  /** Makes an image, and tells the policy unless that has given it up meanwhile. */
  #make(mold: number, make: (attempt: number) => Promise<number>): void {
    const attempt = ++this.#attempt;
    make(attempt).then(
      (bytes) => {
        if (attempt === this.#attempt) this.feed({ type: 'made', bytes });
        else rmSync(this.#path(`image-${mold}`), { recursive: true, force: true });
      },
      (error: unknown) => {
        const reason = error instanceof Error ? error.message : String(error);
        if (attempt === this.#attempt) this.feed({ type: 'makingFailed', reason });
      },
    );
  }

  async #bootMold(mold: number, attempt: number): Promise<number> {
    const plan = await this.#options.prepare({ FORKPOINT_SERVE: this.#path('a') });
    if (attempt !== this.#attempt) throw new SupervisorError('ERR_FORKPOINT_ENDED', 'it was given up');
    const run = basename(dirname(plan));
    const ready = new Promise<unknown>((resolve) => this.#onReady.set(run, resolve));
    const boot = spawn(this.#options.launcher, ['run', plan], { stdio: ['ignore', 'inherit', 'inherit'] });
    this.#boot = boot;
    const over = new Promise<string>((resolve) => {
      boot.once('error', (error) => resolve(error.message));
      boot.once('exit', (code, signal) => resolve(signal === null ? `with code ${code}` : `by ${signal}`));
    });
    const failed = over.then((how) => {
      throw new SupervisorError('ERR_FORKPOINT_ENDED', `the program ended ${how} before it listened`);
    });
    try {
      const listening = readPlaces(await Promise.race([ready, failed]));
      for (const { wanted } of listening) this.#addresses.hold(wanted);
      const image = this.#path(`image-${mold}`);
      const bytes = await this.#checkpoint(run, image, true);
      await over;
      this.#molds.set(mold, { image, listening });
      return bytes;
    } finally {
      this.#onReady.delete(run);
      boot.kill('SIGKILL');
      failed.catch(() => undefined);
    }
  }

  async #captureMold(mold: number, worker: number): Promise<number> {
    const part = this.#workers.get(worker);
    if (part === undefined) throw new SupervisorError('ERR_FORKPOINT_ENDED', 'the worker is gone');
    const image = this.#path(`image-${mold}`);
    const from = this.#molds.get(currentMold(this.#state)?.id ?? -1);
    const bytes = await this.#checkpoint(part.run, image, false);
    const listening = (from?.listening ?? []).map(({ wanted }) => ({ wanted, port: wanted.port }));
    this.#molds.set(mold, { image, listening });
    return bytes;
  }

  async #checkpoint(run: string, image: string, stop: boolean): Promise<number> {
    const { runs, policy } = this.#options;
    const request = { to: image, cwd: this.#directory, stop, sync: false, timeoutMs: policy.captureMs };
    const answer = await askCheckpoint(await findRun(runs, run), request, { timeoutMs: policy.captureMs });
    if (answer.outcome === 'done') return answer.sizes?.['total'] ?? 0;
    throw new SupervisorError('ERR_FORKPOINT_ENGINE', answer.message ?? 'no image was made');
  }

  #start(action: ReforkAction & { readonly type: 'start' }): void {
    const { worker } = action;
    void this.#spawn(action).catch((error: unknown) => {
      const how = `because it could not be started: ${error instanceof Error ? error.message : String(error)}`;
      this.feed({ type: 'exited', worker, how });
    });
  }

  async #spawn({ worker, slot, mold }: ReforkAction & { readonly type: 'start' }): Promise<void> {
    const { home, launcher, worker: checkpointWorker } = this.#options;
    const from = this.#molds.get(mold);
    if (from === undefined) throw new Error('its image is gone');
    const { slots } = await readManifest(from.image);
    const sockets = slots.flatMap((one) => {
      const place = one.kind === 'tcp' ? from.listening.find(({ port }) => port === one.port) : undefined;
      return place === undefined ? [] : [{ id: one.id, fd: this.#addresses.hold(place.wanted) }];
    });
    const id = newId();
    const directory = this.#path(id);
    mkdirSync(directory, { mode: 0o700 });
    const plan = encodeChildPlan({
      id,
      home,
      index: worker,
      isDetached: false,
      stdio: 'inherit',
      socket: this.#path('l'),
      inherit: ['stdout', 'stderr', ...sockets.map((one) => one.id)],
      close: [],
      hostname: null,
      args: [from.image, '--env', `FORKPOINT_WORKER=${slot}`],
      worker: checkpointWorker,
    });
    writeFileSync(join(directory, 'child.plan'), plan, { mode: 0o600 });
    // The first three stay the launcher's own until it takes those of the plan.
    const given = [1, 2, ...sockets.map(({ fd }) => fd)];
    const numbers = given.map((_, at) => String(at + 3));
    const process = spawn(launcher, ['child', join(directory, 'child.plan'), ...numbers], {
      stdio: ['ignore', 'ignore', 'ignore', ...given],
    });
    this.#workers.set(worker, { run: id, process, line: undefined });
    process.once('error', (error) => this.#over(worker, error.message));
    process.once('exit', (code, signal) =>
      this.#over(worker, signal === null ? `with code ${code}` : `by ${signal}`),
    );
  }

  #over(worker: number, how: string): void {
    if (!this.#workers.delete(worker)) return;
    this.feed({ type: 'exited', worker, how });
  }

  /** The life line of a worker: it only has to stay open. What is said about a failed start goes to the log. */
  #living(line: string): void {
    if (!/^(\d+ life|started |exited )/.test(line) && line.trim() !== '') this.#options.log('warning', line);
  }

  /** A line of the program itself: who it is, then how it is. */
  #hear(line: string, socket: Socket): void {
    const message = parseLine(line);
    if (typeof message['run'] === 'string') {
      Reflect.set(socket, RUN, message['run']);
      return;
    }
    const run: unknown = Reflect.get(socket, RUN);
    if (typeof run !== 'string') return;
    if (message['ready'] === true) this.#onReady.get(run)?.(message['places']);
    const [worker, part] = [...this.#workers].find(([, one]) => one.run === run) ?? [];
    if (worker === undefined || part === undefined) return;
    part.line = socket;
    if (message['ready'] === true) this.feed({ type: 'ready', worker });
    if (message['drained'] === true) this.feed({ type: 'drained', worker });
    const { requests, oldestMs } = message;
    if (typeof requests !== 'number' || typeof oldestMs !== 'number') return;
    this.feed({ type: 'heard', reports: [{ worker, requests, oldestMs, privateBytes: 0 }] });
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

function parseLine(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    // A program may write to every socket it finds; nothing follows from what is no message.
    return {};
  }
}

function readPlaces(value: unknown): Listening[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  return list.flatMap((one) => {
    const { wanted, actual } = one as { wanted?: { port?: unknown; host?: unknown }; actual?: unknown };
    const port = Number(actual);
    if (typeof wanted?.port !== 'number' || !Number.isInteger(port)) return [];
    const host = typeof wanted.host === 'string' ? wanted.host : null;
    return [{ wanted: { port: wanted.port === 0 ? port : wanted.port, host }, port }];
  });
}
