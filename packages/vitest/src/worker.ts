import { EventEmitter } from 'node:events';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Readable } from 'node:stream';
import { bringClone, removeClone } from '@forkpoint/supervisor/host';
import type { CloneMaker } from '@forkpoint/supervisor/host';
import { newId } from '@forkpoint/store';
import type { Hub } from './hub.ts';
import type { Line } from './line.ts';
import { fromInside } from './messages.ts';
import type { ToInside } from './messages.ts';
import { textsOf, touch } from './molds.ts';
import type { Molds } from './molds.ts';
import { asStart, fileOf } from './vitest-types.ts';
import type { StartMessage, Worker, WorkerOptions } from './vitest-types.ts';

type Clone = Awaited<ReturnType<typeof bringClone>>;

/** What all workers share. */
export interface Workshop {
  readonly maker: CloneMaker;
  readonly hub: Hub;
  readonly molds: Molds;
  /** Says once why the ordinary pool does the work. */
  readonly giveUp: (why: string) => void;
}

const CLONE_MS = 15_000;
/** As in Vitest's own pool: who does not end by SIGTERM is killed. */
const KILL_MS = 500;

/** One worker of Vitest: a clone of a mold, or of the pool `forks` where there can be none. */
export class ForkpointWorker implements Worker {
  readonly name = 'forkpoint';
  readonly cacheFs = true;
  readonly #options: WorkerOptions;
  readonly #workshop: Promise<Workshop>;
  readonly #events = new EventEmitter();
  readonly #waiting: object[] = [];
  #moldLine: Line | undefined;
  #line: Line | undefined;
  #clone: Clone | undefined;
  #ordinary: Worker | undefined;
  #learn: ((imports: readonly string[]) => void) | undefined;
  #file = '';
  #isStopped = false;
  /** Settles when nothing is left of the clone on the disk. */
  #removed: Promise<void> = Promise.resolve();

  constructor(options: WorkerOptions, workshop: () => Promise<Workshop>) {
    this.#options = options;
    this.#workshop = workshop();
    // Told to whoever starts a worker.
    this.#workshop.catch(() => undefined);
  }

  on(event: string, listener: (...args: never[]) => void): void {
    this.#events.on(event, listener as (...args: unknown[]) => void);
  }

  off(event: string, listener: (...args: never[]) => void): void {
    this.#events.off(event, listener as (...args: unknown[]) => void);
  }

  deserialize(data: unknown): unknown {
    return data;
  }

  async start(): Promise<void> {
    // All that is needed is in the first message.
  }

  send(message: object): void {
    const start = asStart(message);
    if (start !== undefined) {
      this.#begin(message, start).catch((error: unknown) => this.#events.emit('error', error));
      return;
    }
    this.#file = fileOf(message) ?? this.#file;
    if (this.#ordinary !== undefined) this.#ordinary.send(message);
    else if (this.#line !== undefined) this.#line.send(message);
    else if (this.#moldLine !== undefined) this.#moldLine.send(message);
    else this.#waiting.push(message);
  }

  async stop(): Promise<void> {
    this.#isStopped = true;
    if (this.#ordinary !== undefined) {
      await this.#ordinary.stop();
      return;
    }
    const clone = this.#clone;
    if (clone === undefined) return;
    const timer = setTimeout(() => clone.kill('SIGKILL'), KILL_MS);
    clone.kill('SIGTERM');
    await clone.wait();
    clearTimeout(timer);
    await Promise.all([flushed(clone.stdout), flushed(clone.stderr), this.#removed]);
    this.#line?.destroy();
  }

  async #begin(message: object, start: StartMessage): Promise<void> {
    try {
      const workshop = await this.#workshop;
      if (start.traces?.enabled === true) throw new Error('OpenTelemetry is on');
      await this.#bring(workshop, message, start);
    } catch (error) {
      const { giveUp } = await this.#workshop.catch(() => ({ giveUp: undefined }));
      giveUp?.(error instanceof Error ? error.message : String(error));
      if (!this.#isStopped) await this.#fallBack(message);
    }
  }

  /** Restores a clone and starts it for Vitest. */
  async #bring({ maker, hub, molds }: Workshop, message: object, start: StartMessage): Promise<void> {
    const family = molds.familyOf(this.#options, start);
    const mold = await family.mold(start, {
      opened: (line) => (this.#moldLine = line),
      received: (asked) => this.#events.emit('message', asked),
    });
    void touch(mold);
    this.#learn = (imports) => family.learn(this.#file, imports);
    let token = '';
    const opened = new Promise<Line>((resolve, reject) => {
      token = hub.await({
        opened: resolve,
        received: (told) => this.#received(told),
        ended: () => reject(new Error('a clone has ended too early')),
      });
    });
    opened.catch(() => undefined);
    const id = newId();
    try {
      const order = { id, index: 0, image: mold.image, stdio: 'pipe', args: [hub.path, token] } as const;
      const clone = await bringClone(maker, order, { timeoutMs: CLONE_MS });
      this.#take(clone, maker);
      const line = await withLimit(opened, CLONE_MS);
      line.send({ forkpoint: 'begin', env: textsOf(this.#options.env) } satisfies ToInside);
      line.send(message);
      for (const waiting of this.#waiting.splice(0)) line.send(waiting);
      this.#line = line;
    } catch (error) {
      hub.forget(token);
      this.#clone?.kill('SIGKILL');
      this.#clone = undefined;
      throw error;
    }
    if (this.#isStopped) await this.stop();
  }

  #take(clone: Clone, maker: CloneMaker): void {
    this.#clone = clone;
    const { outputStream, errorStream } = this.#options.project.vitest.logger;
    // The logger's streams are everybody's: no end of one worker is theirs.
    for (const stream of [outputStream, errorStream]) stream.setMaxListeners(stream.getMaxListeners() + 1);
    clone.stdout?.pipe(outputStream, { end: false });
    clone.stderr?.pipe(errorStream, { end: false });
    this.#removed = clone.wait().then(async ({ code, signal }) => {
      if (this.#clone === clone) this.#events.emit('exit', code, signal);
      for (const stream of [outputStream, errorStream]) stream.setMaxListeners(stream.getMaxListeners() - 1);
      // What cannot be removed now goes with the next `forkpoint gc`.
      await removeClone(maker.places, clone.id).catch(() => undefined);
    });
  }

  #received(message: unknown): void {
    const told = fromInside(message);
    if (told === undefined) this.#events.emit('message', message);
    else if (told.forkpoint === 'imported') this.#learn?.(told.imports);
  }

  /** Hands everything over to a worker of the pool `forks`. */
  async #fallBack(message: object): Promise<void> {
    const vitest: unknown = await import(pathToFileURL(join(this.#options.distPath, 'node.js')).href);
    const { ForksPoolWorker } = vitest as { ForksPoolWorker: new (options: WorkerOptions) => Worker };
    const ordinary = new ForksPoolWorker(this.#options);
    await ordinary.start();
    for (const event of ['error', 'exit', 'message'])
      ordinary.on(event, (...args: unknown[]) => void this.#events.emit(event, ...args));
    ordinary.send(message);
    for (const waiting of this.#waiting.splice(0)) ordinary.send(waiting);
    this.#ordinary = ordinary;
    if (this.#isStopped) await ordinary.stop();
  }
}

/** Resolves once all output of a process that has ended is read. */
async function flushed(stream: Readable | null): Promise<void> {
  if (stream === null || stream.readableEnded || stream.destroyed) return;
  await new Promise<void>((resolve) => {
    stream.once('end', resolve);
    stream.once('close', resolve);
  });
}

async function withLimit<T>(promise: Promise<T>, limitMs: number): Promise<T> {
  let timer: NodeJS.Timeout | undefined;
  const late = new Promise<never>((_, reject) => {
    timer = setTimeout(() => reject(new Error(`a clone did not report within ${limitMs} ms`)), limitMs);
  });
  try {
    return await Promise.race([promise, late]);
  } finally {
    clearTimeout(timer);
  }
}
