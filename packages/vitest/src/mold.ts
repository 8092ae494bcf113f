import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CloneMaker } from '@forkpoint/supervisor/host';
import type { Hub } from './hub.ts';
import type { Line } from './line.ts';
import { fromInside } from './messages.ts';
import type { ImportId, Preloaded, ToInside, Unfit } from './messages.ts';
import { removeRunCalled } from './run-left.ts';
import { changedOf, stampsOf } from './stamps.ts';
import type { Stamp } from './stamps.ts';

/** A worker of Vitest behind its start, as an image. */
export interface Mold {
  readonly image: string;
  readonly imports: readonly ImportId[];
  readonly stamps: readonly Stamp[];
}

/** What a mold is made of. */
export interface MoldOrder {
  /** The directory that it becomes. */
  readonly directory: string;
  readonly distPath: string;
  readonly execArgv: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** Vitest's message by which a worker is started. */
  readonly start: object;
  readonly imports: readonly ImportId[];
  readonly forced: readonly ImportId[];
  readonly hasGlobals: boolean;
  /** Whether Vitest's own part is played before. */
  readonly rehearses: boolean;
  /** The files that count besides those which are loaded as modules. */
  readonly files: readonly string[];
  /** Aborted when nobody will use the mold any more. */
  readonly over: AbortSignal;
  /** Gets what Vitest's part of the mold asks for; the answers come over the line. */
  readonly asks: { opened(line: Line | undefined): void; received(message: unknown): void };
}

/** This Vitest, or this configuration of it, is not as the rehearsal takes it to be. */
export class RehearsalError extends Error {}

/** Vitest gives a worker 60 s to start; then the ordinary pool still needs some of it. */
const MAKE_MS = 40_000;
/** How long a mold may take to end by itself. */
const END_MS = 5000;
const RECORD = 'mold.json';
const FORMAT = 1;
const SAID_MAX = 8192;

/**
 * Makes a mold: starts a worker in a pod, has it make the environment and import what is shared, and takes its image. Returns
 * what was unfit instead when an import has spoilt it. Throws an Error that says what went wrong.
 */
export async function makeMold(
  maker: CloneMaker,
  hub: Hub,
  order: MoldOrder,
): Promise<Mold | readonly Unfit[]> {
  const draft = `${order.directory}.${process.pid}-${drafts++}`;
  await mkdir(draft, { recursive: true, mode: 0o700 });
  try {
    const made = new Making(maker, hub, order, join(draft, 'image'));
    const preloaded = await made.finish();
    if (preloaded.unfit.length > 0) return preloaded.unfit;
    const stamps = await stampsOf([...new Set([...preloaded.files, ...order.files])]);
    const record = {
      v: FORMAT,
      isLasting: preloaded.hasAllFiles,
      isRehearsed: order.rehearses,
      imports: preloaded.imports,
      stamps,
    };
    await writeFile(join(draft, RECORD), JSON.stringify(record), { mode: 0o600 });
    await rm(order.directory, { recursive: true, force: true });
    await rename(draft, order.directory);
    return { image: join(order.directory, 'image'), imports: preloaded.imports, stamps };
  } finally {
    await rm(draft, { recursive: true, force: true });
  }
}

let drafts = 0;

/** Returns the mold that lies in a directory; undefined when there is none that still counts. */
export async function findMold(directory: string): Promise<Mold | undefined> {
  try {
    const record = JSON.parse(await readFile(join(directory, RECORD), 'utf8')) as {
      readonly v: unknown;
      readonly isLasting: unknown;
      readonly imports: readonly ImportId[];
      readonly stamps: readonly Stamp[];
    };
    if (record.v !== FORMAT || record.isLasting !== true) return undefined;
    if ((await changedOf(record.stamps)) !== undefined) return undefined;
    return { image: join(directory, 'image'), imports: record.imports, stamps: record.stamps };
  } catch {
    // None, or one that was removed while it was read.
    return undefined;
  }
}

/** One mold on its way. */
class Making {
  readonly #order: MoldOrder;
  readonly #image: string;
  readonly #hub: Hub;
  readonly #token: string;
  /** Nobody else's run is called so. */
  readonly #name: string;
  readonly #child: ChildProcess;
  readonly #done: Promise<Preloaded>;
  readonly #closed: Promise<void>;
  readonly #maker: CloneMaker;
  #settle: { resolve(preloaded: Preloaded): void; reject(error: Error): void } | undefined;
  #line: Line | undefined;
  #preloaded: Preloaded | undefined;
  #said = '';

  constructor(maker: CloneMaker, hub: Hub, order: MoldOrder, image: string) {
    this.#maker = maker;
    this.#order = order;
    this.#image = image;
    this.#hub = hub;
    this.#done = new Promise((resolve, reject) => (this.#settle = { resolve, reject }));
    this.#token = hub.await({
      opened: (line) => this.#opened(line),
      received: (message) => this.#received(message),
      ended: () => undefined,
    });
    this.#name = `vitest-${this.#token}`;
    const inside = join(maker.library, 'dist', 'vitest-mold.cjs');
    const program = [process.execPath, ...order.execArgv, inside, hub.path, this.#token, order.distPath];
    const env = { ...order.env, FORKPOINT_HOME: maker.places.home, FORKPOINT_NODE: process.execPath };
    this.#child = spawn(
      join(maker.library, 'bin', 'forkpoint'),
      ['run', '--name', this.#name, '--', ...program],
      // A group of its own: the command starts a process before it becomes the launcher.
      { env, stdio: ['pipe', 'pipe', 'pipe'], detached: true },
    );
    this.#closed = new Promise((resolve) => {
      this.#child.once('close', () => resolve());
      // One that could not be started.
      this.#child.once('error', () => resolve());
    });
    this.#watch();
  }

  /** Resolves once the image is there, or once it is known to be spoilt. */
  async finish(): Promise<Preloaded> {
    const timer = setTimeout(() => this.#fail(`it was not ready within ${MAKE_MS} ms`), MAKE_MS);
    // Whoever ends without closing Vitest has no time to wait.
    const atExit = (): void => {
      this.#kill();
      rmSync(dirname(this.#image), { recursive: true, force: true });
      removeRunCalled(this.#maker.places.runs, this.#name);
    };
    const { over } = this.#order;
    const onOver = (): void => this.#fail('Vitest is about to end');
    process.once('exit', atExit);
    over.addEventListener('abort', onOver);
    if (over.aborted) onOver();
    try {
      return await this.#done;
    } finally {
      clearTimeout(timer);
      over.removeEventListener('abort', onOver);
      this.#hub.forget(this.#token);
      this.#order.asks.opened(undefined);
      await this.#leave();
      process.off('exit', atExit);
    }
  }

  /** Ends what still runs, and removes what is left of it. */
  async #leave(): Promise<void> {
    // A mold ends with its line.
    this.#line?.destroy();
    const timer = setTimeout(() => this.#kill(), this.#line === undefined ? 0 : END_MS);
    await this.#closed;
    clearTimeout(timer);
    removeRunCalled(this.#maker.places.runs, this.#name);
  }

  #kill(): void {
    try {
      if (this.#child.pid !== undefined) process.kill(-this.#child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  }

  #watch(): void {
    for (const stream of [this.#child.stdout, this.#child.stderr]) {
      stream?.setEncoding('utf8').on('data', (text: string) => {
        this.#said = (this.#said + text).slice(-SAID_MAX);
      });
    }
    this.#child.on('error', (error) => this.#fail(error.message));
    this.#child.on('close', (code, signal) => {
      const preloaded = this.#preloaded;
      if (code === 0 && preloaded !== undefined) this.#settle?.resolve(preloaded);
      else this.#fail(`it ended ${signal === null ? `with code ${code}` : `by ${signal}`}`);
    });
  }

  #fail(why: string): void {
    const said = this.#said.trim();
    this.#settle?.reject(new Error(said === '' ? why : `${why}: ${said}`));
  }

  #opened(line: Line): void {
    this.#line = line;
    this.#order.asks.opened(line);
    line.send(this.#order.start);
  }

  #received(message: unknown): void {
    const told = fromInside(message);
    if (told?.forkpoint === 'preloaded') this.#freeze(told);
    else if (told?.forkpoint === 'failed' && told.isRehearsal)
      this.#settle?.reject(new RehearsalError(told.message));
    else if (told?.forkpoint === 'failed') this.#fail(told.message);
    else if (isStarted(message)) this.#started(message);
    else this.#order.asks.received(message);
  }

  #started({ error }: { readonly error?: unknown }): void {
    if (error !== undefined) {
      this.#fail(`its environment could not be made: ${textOf(error)}`);
      return;
    }
    const { imports, forced, hasGlobals, rehearses } = this.#order;
    this.#send({ forkpoint: 'preload', imports, forced, hasGlobals, rehearses });
  }

  #freeze(preloaded: Preloaded): void {
    if (preloaded.unfit.length > 0) {
      this.#settle?.resolve(preloaded);
      return;
    }
    this.#preloaded = preloaded;
    this.#send({ forkpoint: 'freeze', image: this.#image });
  }

  #send(message: ToInside): void {
    this.#line?.send(message);
  }
}

/** Vitest's answer to the message by which a worker is started. */
function isStarted(message: unknown): message is { readonly error?: unknown } {
  return (
    typeof message === 'object' &&
    message !== null &&
    '__vitest_worker_response__' in message &&
    'type' in message &&
    message.type === 'started'
  );
}

function textOf(error: unknown): string {
  return typeof error === 'object' && error !== null && 'message' in error
    ? String(error.message)
    : String(error);
}
