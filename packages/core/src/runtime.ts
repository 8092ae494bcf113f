import { allAdapters } from './adapters/all.ts';
import { Adapters } from './adapters/registry.ts';
import { announce, announced, Barrier, countWorkers, installInWorker } from './barrier.ts';
import { createContext, OrderedContext } from './context.ts';
import { ControlDirectory } from './control-directory.ts';
import { EnvironmentReads } from './environment.ts';
import { CheckpointException, CoreError, RestoreException } from './errors.ts';
import { Family } from './family.ts';
import { forkMember } from './fork.ts';
import { provideForHeirs } from './heirs.ts';
import { Member } from './member.ts';
import { CONFIG_VARIABLE } from './serve-hooks.ts';
import { createReseeder } from './randomness.ts';
import { SERVE_VARIABLE, ServeAgent } from './serve-agent.ts';
import { watchStreams } from './streams.ts';
import { traceResources } from './trace-resources.ts';
import type {
  CheckpointOptions,
  Context,
  CoreApi,
  Forked,
  ForkOptions,
  HookContext,
  Outcome,
  Resource,
} from './types.ts';

/**
 * What ESM, CommonJS and the preload share. The first copy of the library that is loaded makes it; every later one,
 * even of another version, hands out the same.
 */
export interface Runtime {
  readonly Core: CoreApi;
  readonly checkpoint: (dest?: string, options?: CheckpointOptions) => Promise<Outcome>;
  readonly fork: (options?: ForkOptions) => Promise<Forked>;
  readonly createContext: () => Context & Resource;
  readonly extendRequest: (request: object, ms: number) => boolean;
  readonly CheckpointException: typeof CheckpointException;
  readonly RestoreException: typeof RestoreException;
  /** Adapts a library by hand, for `forkpoint/adapters/NAME`; returns what is to be used in its place. */
  readonly adapt: (name: string, library: unknown) => unknown;
  /** Joins the run, once; does nothing outside a pod and never throws. */
  readonly start: (preload: string) => void;
}

const KEY = Symbol.for('forkpoint.runtime');

/** Returns the one runtime of this thread. */
export function sharedRuntime(): Runtime {
  // The symbol is this library's own, so what is found under it is a Runtime.
  const existing = Reflect.get(globalThis, KEY) as Runtime | undefined;
  if (existing !== undefined) return existing;
  const runtime = createRuntime();
  Object.defineProperty(globalThis, KEY, { value: runtime });
  return runtime;
}

function createRuntime(): Runtime {
  const context = new OrderedContext();
  // Held here, because the context holds it weakly, and the first in it.
  const adapters = new Adapters();
  context.register(adapters, { timeoutMs: Infinity });
  let joined: Joined | undefined;
  let failure: unknown;
  let isStarted = false;

  const request = async (stop: boolean, dest?: string, options?: CheckpointOptions): Promise<Outcome> => {
    if (joined === undefined) throw noRuntime(failure);
    return joined.member.request(stop, dest, options);
  };
  const core: CoreApi = {
    getGlobalContext: () => context,
    isImplemented: () => joined !== undefined,
    get args(): readonly string[] {
      return joined?.member.identity.args ?? [];
    },
    async checkpointRestore(dest?: string, options?: CheckpointOptions): Promise<HookContext> {
      const result = await request(true, dest, options);
      if (result.outcome === 'restored' && joined !== undefined) return joined.member.identity;
      const message = 'the launcher let this process go on after a checkpoint that was to end it';
      throw new CheckpointException({ code: 'ERR_FORKPOINT_PROTOCOL', message });
    },
    get uptimeSinceRestore(): number {
      return joined?.member.uptimeSinceRestore ?? -1;
    },
    get restoreTime(): number {
      return joined?.member.restoreTime ?? -1;
    },
  };
  return {
    Core: Object.freeze(core),
    checkpoint: (dest?: string, options?: CheckpointOptions) => request(false, dest, options),
    extendRequest: (request, ms) => agent?.grant(request, ms) ?? false,
    async fork(options?: ForkOptions): Promise<Forked> {
      if (joined === undefined) throw noRuntime(failure);
      return forkMember(joined, options);
    },
    createContext,
    adapt: (name, library) => adapters.adapt(name, library),
    CheckpointException,
    RestoreException,
    start(preload: string): void {
      if (isStarted) return;
      isStarted = true;
      try {
        joined = join(context, preload);
        if (joined !== undefined) adapters.start(allAdapters(process.env['FORKPOINT_DIR'] ?? ''));
      } catch (error) {
        // A program must run as if the library were not there; its first checkpoint gets this as the reason.
        failure = error;
      }
    },
  };
}

/** What a process that takes part in checkpoints consists of. */
interface Joined {
  readonly member: Member;
  readonly family: Family;
  readonly control: ControlDirectory;
}

function join(context: OrderedContext, preload: string): Joined | undefined {
  const { isMainThread } = process.getBuiltinModule('node:worker_threads');
  const directory = process.env['FORKPOINT_DIR'];
  if (!isMainThread) {
    provideForHeirs(preload);
    const data = announced();
    if (data !== undefined) installInWorker(data, createReseeder(data));
    // Becomes the reason that a request in this thread is refused with.
    throw new CoreError('ERR_FORKPOINT_NO_RUNTIME', 'checkpoints are asked for in the main thread');
  }
  if (directory === undefined || directory === '') return undefined;
  const control = new ControlDirectory(directory, process.pid);
  const nativeDirectory = process.env['FORKPOINT_NATIVE'];
  const keepsNativeMathRandom = process.env['FORKPOINT_NO_MATH_RANDOM'] === '1';
  const reseeder = createReseeder({ nativeDirectory, keepsNativeMathRandom });
  const identityPath = `${directory}/identity.json`;
  const data = announce({ parkPath: control.parkPath, identityPath, nativeDirectory, keepsNativeMathRandom });
  const barrier = new Barrier(data, preload);
  const environment = new EnvironmentReads();
  const family = new Family();
  const liveWorkers = countWorkers();
  const member = new Member({ control, context, reseeder, barrier, liveWorkers, environment, family });
  member.join();
  provideForHeirs(preload);
  watchStreams();
  environment.start();
  if (process.env['FORKPOINT_TRACE_RESOURCES'] === '1') traceResources(directory);
  serve(context, member);
  return { member, family, control };
}

/** Held here: the context holds what is registered weakly. */
let agent: ServeAgent | undefined;
let latecomer: Resource | undefined;

/**
 * Makes this process a worker of `forkpoint serve`, unless it is a child of one: the variable is for the program itself.
 * A program that was started without it becomes one when a restore brings the variable.
 */
function serve(context: OrderedContext, member: Member): void {
  const path = process.env[SERVE_VARIABLE];
  const zeros = (process.env['FORKPOINT_SERVE_ZEROS'] ?? '').split(',').filter(Boolean).map(Number);
  for (const name of [SERVE_VARIABLE, 'FORKPOINT_SERVE_ZEROS']) delete process.env[name];
  const begin = (at: string, isBoot: boolean, config: string | undefined): ServeAgent => {
    agent = new ServeAgent({
      path: at,
      zeros: isBoot ? zeros : undefined,
      config,
      idOf: () => member.identity.id,
    });
    agent.start(context);
    return agent;
  };
  const config = process.env[CONFIG_VARIABLE];
  if (path !== undefined) {
    delete process.env[CONFIG_VARIABLE];
    begin(path, true, config);
    return;
  }
  latecomer = {
    beforeCheckpoint: () => undefined,
    afterRestore(hook) {
      const at = hook.env[SERVE_VARIABLE];
      if (at !== undefined && agent === undefined)
        begin(at, false, hook.env[CONFIG_VARIABLE]).afterRestore(hook);
    },
  };
  context.register(latecomer);
}

function noRuntime(reason: unknown): CheckpointException {
  return new CheckpointException({
    code: 'ERR_FORKPOINT_NO_RUNTIME',
    message: 'this process was not started by forkpoint',
    hint: 'start it with `forkpoint run -- node app.js`',
    errors: reason === undefined ? [] : [reason],
  });
}
