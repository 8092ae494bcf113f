import type { Worker, WorkerOptions } from 'node:worker_threads';

/** Through which a worker with an environment of its own learns what its creator gave as NODE_OPTIONS. */
const OWN_OPTIONS = 'FORKPOINT_OWN_OPTIONS';
/** Through which threads without the run's environment learn what their children need. */
const KEY = 'forkpoint.heirs';

type Pairs = readonly (readonly [name: string, value: string])[];

/**
 * What is started with an environment of its own (`fork(file, [], { env: {} })`, `new Worker(file, { env: {} })`) would not
 * load the library: no hooks, and the same random values in every clone. A worker thread that is born in the moment of a
 * checkpoint would even run on beside it. So the few variables that the library needs are put into these environments
 * again. Whoever gives a child a `FORKPOINT_DIR` of its own, also an empty one, is left alone.
 */
export function provideForHeirs(preload: string): void {
  // Node takes text in double quotes as one word, in which a backslash keeps the next character (src/node_options.cc).
  const words = `--require "${preload.replaceAll(/["\\]/g, String.raw`\$&`)}"`;
  const threads = process.getBuiltinModule('node:worker_threads');
  if (threads.isMainThread) threads.setEnvironmentData(KEY, variablesOf(process.env));
  else takeOwnOptions();
  // The key is this library's own.
  const variables = threads.getEnvironmentData(KEY) as Pairs | undefined;
  if (variables === undefined || !variables.some(([name]) => name === 'NODE_OPTIONS')) return;
  provideForWorkers(words);
  provideForChildren(words, variables);
}

/** What the library and the shim need; nothing of NODE_OPTIONS and LD_PRELOAD but the names where they are in use. */
function variablesOf(env: NodeJS.ProcessEnv): Pairs {
  const shim = (env['LD_PRELOAD'] ?? '')
    .split(/[:\s]+/)
    .find((path) => /\/shim(-[0-9a-f]{12})?\.so$/.test(path));
  const all: [string, string | undefined][] = [
    ...[
      'FORKPOINT_DIR',
      'FORKPOINT_NATIVE',
      'FORKPOINT_HOME',
      'FORKPOINT_NO_MATH_RANDOM',
      'FORKPOINT_TRACE_RESOURCES',
    ].map((name): [string, string | undefined] => [name, env[name]]),
    ['NODE_OPTIONS', env['NODE_OPTIONS'] === undefined ? undefined : ''],
    ['LD_PRELOAD', shim],
  ];
  return all.flatMap(([name, value]) => (value === undefined ? [] : [[name, value] as const]));
}

/** The program in this thread sees the environment that its creator gave it. */
function takeOwnOptions(): void {
  const own = process.env[OWN_OPTIONS];
  if (own === undefined) return;
  delete process.env[OWN_OPTIONS];
  if (own === '') delete process.env['NODE_OPTIONS'];
  else process.env['NODE_OPTIONS'] = own;
}

function withWords(options: string | undefined, words: string): string {
  return options === undefined || options.trim() === '' ? words : `${options} ${words}`;
}

/** Has every `new Worker` load the library. The class stays what it is, but for the options that it is given. */
function provideForWorkers(words: string): void {
  // Taken before reads of it are noted.
  const inherited = process.env;
  const threads = process.getBuiltinModule('node:worker_threads');
  const own = threads.Worker;
  const patched = new Proxy(own, {
    construct(
      target,
      [file, options, ...rest]: [string | URL, WorkerOptions | undefined],
      newTarget,
    ): Worker {
      return Reflect.construct(
        target,
        [file, withLibrary(options, inherited, words), ...rest],
        newTarget,
      ) as Worker;
    },
  });
  Object.defineProperty(own.prototype, 'constructor', { value: patched, configurable: true, writable: true });
  threads.Worker = patched;
  process.getBuiltinModule('node:module').syncBuiltinESMExports();
}

function withLibrary(
  options: WorkerOptions | undefined,
  inherited: NodeJS.ProcessEnv,
  words: string,
): WorkerOptions | undefined {
  const env: unknown = options?.env ?? inherited;
  // SHARE_ENV is a symbol: then it is the creator's own.
  if (typeof env !== 'object' || env === null) return options;
  const given: unknown = Reflect.get(env, 'NODE_OPTIONS');
  const own = typeof given === 'string' ? given : '';
  if (own.includes(words)) return options;
  return { ...options, env: { ...env, NODE_OPTIONS: withWords(own, words), [OWN_OPTIONS]: own } };
}

interface SpawnOptions {
  envPairs?: string[];
}

/** Has every child take part. Those of spawnSync are gone before a checkpoint can be taken, as their parent waits for them. */
function provideForChildren(words: string, variables: Pairs): void {
  const { prototype } = process.getBuiltinModule('node:child_process').ChildProcess;
  const spawn: unknown = Reflect.get(prototype, 'spawn');
  if (typeof spawn !== 'function') return;
  Reflect.set(
    prototype,
    'spawn',
    function spawnHeir(this: unknown, options: SpawnOptions | undefined): unknown {
      const pairs = options?.envPairs;
      const heirs = Array.isArray(pairs)
        ? { ...options, envPairs: withVariables(pairs, words, variables) }
        : options;
      return Reflect.apply(spawn, this, [heirs]);
    },
  );
}

/** Exported for tests. */
export function withVariables(pairs: readonly string[], words: string, variables: Pairs): string[] {
  const names = new Map(pairs.map((pair, at) => [pair.slice(0, pair.indexOf('=')), at]));
  const result = [...pairs];
  const [, directory] = variables.find(([name]) => name === 'FORKPOINT_DIR') ?? [];
  const given = result[names.get('FORKPOINT_DIR') ?? -1];
  if (given !== undefined && given !== `FORKPOINT_DIR=${directory}`) return result;
  for (const [name, value] of variables) {
    const at = names.get(name);
    const present = at === undefined ? undefined : result[at]?.slice(name.length + 1);
    let wanted = present ?? value;
    if (name === 'NODE_OPTIONS' && present?.includes(words) !== true) wanted = withWords(present, words);
    if (name === 'LD_PRELOAD' && present !== undefined && present !== '' && !present.includes(value))
      wanted = `${present}:${value}`;
    if (at === undefined) result.push(`${name}=${wanted}`);
    else result[at] = `${name}=${wanted}`;
  }
  return result;
}
