import type { ServeConfig, ServeServer, ServeTimeout, ServeWorker } from './serve-config.ts';

/** The path of forkpoint.config. */
export const CONFIG_VARIABLE = 'FORKPOINT_SERVE_CONFIG';
/** Longest time that a hook may take, in milliseconds; the work goes on without it then. */
const HOOK_MS = 10_000;

/** Hooks that run in the program; the others are the server's. */
type Name =
  | 'afterMoldFork'
  | 'afterWorkerFork'
  | 'afterWorkerReady'
  | 'beforeWorkerExit'
  | 'afterRequestComplete'
  | 'afterWorkerTimeout';

/** The hooks of `forkpoint.config` that run in workers. */
export class ServeHooks {
  #config: ServeConfig = {};
  readonly #server: ServeServer;

  constructor(log: (text: string) => void) {
    this.#server = { log };
  }

  /** Loads the configuration. Rejects with what its modules throw, and when Node.js cannot read TypeScript. */
  async load(path: string): Promise<void> {
    const { pathToFileURL } = process.getBuiltinModule('node:url');
    const module: unknown = await import(pathToFileURL(path).href);
    const config: unknown = Reflect.get(Object(module), 'default');
    // What a module of CommonJS exports is the default of the default, when TypeScript has made it.
    if (typeof config === 'object' && config !== null) this.#config = config;
  }

  /** Whether there is such a hook. */
  has(name: Name): boolean {
    return typeof this.#config[name] === 'function';
  }

  /** Runs a hook, if there is one; what it throws is told to the operator. Returns whether it went well. */
  async run(name: Name, worker: ServeWorker, more?: object | ServeTimeout): Promise<boolean> {
    const hook: unknown = this.#config[name];
    if (typeof hook !== 'function') return true;
    let timer: NodeJS.Timeout | undefined;
    const late = new Promise((_, reject) => {
      timer = setTimeout(() => reject(new Error(`it took longer than ${HOOK_MS} ms`)), HOOK_MS);
    });
    try {
      const args = more === undefined ? [this.#server, worker] : [this.#server, worker, more];
      await Promise.race([Reflect.apply(hook, this.#config, args), late]);
      return true;
    } catch (error) {
      this.#server.log(
        `${name} failed: ${error instanceof Error ? (error.stack ?? error.message) : String(error)}`,
      );
      return false;
    } finally {
      clearTimeout(timer);
    }
  }
}
