// The program of a mold: a worker of Vitest that is stopped behind its start. Bundled to CommonJS; see ../mold.ts.
import { Socket } from 'node:net';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { Line } from '../line.ts';
import { toInside } from '../messages.ts';
import type { FromInside, ImportId, Preloaded, ToInside } from '../messages.ts';
import { Loads, preload } from './imports.ts';
import { leavePlaceForUndici, rehearseNetwork, usesNetwork } from './network.ts';
import { Rehearsal } from './rehearsal.ts';
import { setStage } from './stage.ts';
import type { StageConfig } from './stage.ts';

/** What is used of the library inside the program, which is another bundle. */
interface Library {
  readonly Core: { checkpointRestore(image: string): Promise<{ readonly args: readonly string[] }> };
}

/** What is used of `vitest/worker`. */
interface VitestWorker {
  readonly init: (worker: {
    post(message: unknown): void;
    on(listener: (message: unknown) => void): void;
    off(listener: (message: unknown) => void): void;
    onModuleRunner(runner: ModuleRunner): void;
    setup(context: SetupContext): Promise<() => Promise<unknown>>;
    runTests(state: WorkerState, traces: unknown): Promise<void>;
    collectTests(state: WorkerState, traces: unknown): Promise<void>;
  }) => void;
  readonly runBaseTests: (method: 'run' | 'collect', state: WorkerState, traces: unknown) => Promise<void>;
  readonly setupEnvironment: (context: SetupContext) => Promise<() => Promise<unknown>>;
}

/** What is used of Vitest's module runner. */
interface ModuleRunner {
  readonly evaluator?: { runExternalModule?(id: string): Promise<unknown> };
}

type Preload = Extract<ToInside, { readonly forkpoint: 'preload' }>;

/** What Vitest hands to `setup`. */
interface SetupContext {
  readonly config: StageConfig;
  readonly environment: { readonly name: string };
}

interface WorkerState {
  readonly durations: { environment: number };
  readonly moduleExecutionInfo: { clear(): void };
  readonly evaluatedModules: {
    clear(): void;
    readonly idToModuleMap: ReadonlyMap<
      string,
      { readonly meta?: { readonly externalize?: string; readonly type?: string } }
    >;
  };
}

/** Environments whose modules Vite transforms for browsers. */
const CLIENTS = ['jsdom', 'happy-dom'];

// Taken before a test can replace them.
const exit = process.exit.bind(process);
const { env } = process;

/** One process: first the mold, then, restored, one of its clones. */
class Inside {
  readonly #library: Library;
  readonly #vitest: VitestWorker;
  readonly #loads: Loads;
  readonly #listeners = new Set<(message: unknown) => void>();
  #line: Line | undefined;
  #closed: Promise<void> = Promise.resolve();
  #teardown: (() => Promise<unknown>) | undefined;
  #isClone = false;
  #config: object = {};
  #rehearsal: Rehearsal | undefined;
  #rehearsed: WorkerState | undefined;
  #runner: ModuleRunner | undefined;

  constructor(library: Library, vitest: VitestWorker, loads: Loads) {
    this.#loads = loads;
    this.#library = library;
    this.#vitest = vitest;
  }

  /** Offers itself to Vitest and waits for messages. */
  async start(socket: string, token: string): Promise<void> {
    const { init, runBaseTests } = this.#vitest;
    init({
      post: (message) => {
        if (this.#rehearsal === undefined) this.#line?.send(message);
        else this.#rehearsal.take(message);
      },
      on: (listener) => this.#listeners.add(listener),
      off: (listener) => this.#listeners.delete(listener),
      onModuleRunner: (runner) => (this.#runner = runner),
      setup: async (context) => (this.#teardown ??= await this.#setUp(context)),
      runTests: async (state, traces) => {
        await this.#run(runBaseTests('run', state, traces), state);
        if (this.#rehearsal !== undefined) {
          this.#rehearsed = state;
          // As before the first file.
          state.evaluatedModules.clear();
          state.moduleExecutionInfo.clear();
          return;
        }
        this.#send({ forkpoint: 'imported', imports: importsOf(state) });
      },
      collectTests: async (state, traces) => await this.#run(runBaseTests('collect', state, traces), state),
    });
    await this.#connect(socket, token);
  }

  async #setUp(context: SetupContext): Promise<() => Promise<unknown>> {
    const teardown = await this.#vitest.setupEnvironment(context);
    this.#config = context.config;
    setStage(context.config, CLIENTS.includes(context.environment.name));
    return teardown;
  }

  /** The environment was made by the mold, so that no clone has spent time on it. */
  async #run(running: Promise<void>, state: WorkerState): Promise<void> {
    if (this.#isClone) state.durations.environment = 0;
    await running;
  }

  async #connect(path: string, token: string): Promise<void> {
    const socket = new Socket();
    await new Promise<void>((resolve, reject) => {
      socket.once('connect', resolve);
      socket.once('error', reject);
      socket.connect(path);
    });
    this.#closed = new Promise((resolve) => {
      this.#line = new Line(
        socket,
        (message) => this.#receive(message),
        () => {
          // Without Vitest there is nobody to work for. A mold says goodbye before its image is taken.
          if (this.#line !== undefined) exit(1);
          resolve();
        },
      );
    });
    this.#send({ forkpoint: 'hello', token });
  }

  #send(message: FromInside): void {
    this.#line?.send(message);
  }

  #receive(message: unknown): void {
    const order = toInside(message);
    if (order === undefined) {
      for (const listener of [...this.#listeners]) listener(message);
    } else if (order.forkpoint === 'preload') {
      this.#preload(order).then(
        (result) => this.#send({ forkpoint: 'preloaded', ...result }),
        (error: unknown) => {
          const isRehearsal = this.#rehearsal !== undefined;
          this.#rehearsal = undefined;
          this.#send({ forkpoint: 'failed', message: String(error), isRehearsal });
        },
      );
    } else if (order.forkpoint === 'freeze') {
      void this.#freeze(order.image);
    } else {
      for (const name of Object.keys(env)) if (!(name in order.env)) delete env[name];
      Object.assign(env, order.env);
    }
  }

  async #rehearse(): Promise<void> {
    this.#rehearsal = new Rehearsal((message) => {
      for (const listener of [...this.#listeners]) listener(message);
    });
    await this.#rehearsal.play(this.#config);
    this.#rehearsal = undefined;
  }

  async #preload({ imports, forced, hasGlobals, rehearses }: Preload): Promise<Preloaded> {
    if (rehearses) await this.#rehearse();
    const evaluator = this.#runner?.evaluator;
    // Node.js remembers what an import means by who imports: here Vitest, as when a file runs.
    const importOne = async (id: ImportId): Promise<unknown> =>
      evaluator?.runExternalModule === undefined ? await import(id) : await evaluator.runExternalModule(id);
    const preloaded = await preload(this.#loads, { imports, forced, hasGlobals, importOne });
    this.#rehearsed?.evaluatedModules.clear();
    this.#rehearsed?.moduleExecutionInfo.clear();
    if (rehearses && preloaded.unfit.length === 0 && usesNetwork()) await rehearseNetwork();
    return preloaded;
  }

  async #freeze(image: string): Promise<void> {
    const line = this.#line;
    this.#line = undefined;
    line?.end();
    await this.#closed;
    const { args } = await this.#library.Core.checkpointRestore(image);
    this.#isClone = true;
    const [socket = '', token = ''] = args;
    // As in a worker of the pool `forks`, where fake timers leave nextTick alone for it.
    Object.assign(process, { send: (message: unknown) => this.#line?.send(message), connected: true });
    await this.#connect(socket, token);
  }
}

/** Returns what a test file imported past Vitest, in its order. */
function importsOf({ evaluatedModules }: WorkerState): ImportId[] {
  const found: ImportId[] = [];
  for (const { meta } of evaluatedModules.idToModuleMap.values()) {
    if (meta?.externalize !== undefined && meta.type !== 'builtin' && meta.type !== 'network')
      found.push(meta.externalize);
  }
  return found;
}

async function main(): Promise<void> {
  const [socket = '', token = '', dist = ''] = process.argv.splice(2);
  // Beside this bundle in `dist`.
  const library = require(join(__dirname, 'index.cjs')) as Library;
  leavePlaceForUndici();
  const loads = new Loads();
  const vitest = (await import(pathToFileURL(join(dist, 'worker.js')).href)) as VitestWorker;
  await new Inside(library, vitest, loads).start(socket, token);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  exit(1);
});
