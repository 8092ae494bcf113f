import { closeMatches } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';

/** Settings of `forkpoint.config`, checked; times in milliseconds, sizes in bytes. What was left out is missing. */
export interface Settings {
  readonly name?: string;
  readonly workers?: number;
  readonly refork?: readonly number[];
  readonly reforkAfterMs?: number;
  readonly reforkAfterGrowth?: number;
  readonly reforkWhenWarmMs?: number;
  readonly memoryLimit?: number;
  readonly diskLimit?: number;
  readonly youngGeneration?: number | false;
  readonly from?: string;
  readonly keep?: boolean;
  readonly admin?: string;
  readonly log?: 'plain' | 'prefix' | 'json';
  readonly timeoutMs?: number;
  readonly hardTimeoutMs?: number;
  readonly bootTimeoutMs?: number;
  readonly readyTimeoutMs?: number;
  readonly drainTimeoutMs?: number;
  readonly silenceTimeoutMs?: number;
}

/** Hooks that run in the server. */
export interface MonitorHooks {
  afterMonitorReady?(server: object): unknown;
  afterWorkerHardTimeout?(server: object, worker: object): unknown;
}

/** Hooks that run in the program, by name. */
const WORKER_HOOKS = [
  'afterMoldFork',
  'afterWorkerFork',
  'afterWorkerReady',
  'beforeWorkerExit',
  'afterRequestComplete',
  'afterWorkerTimeout',
];
const MONITOR_HOOKS = ['afterMonitorReady', 'afterWorkerHardTimeout'] as const;
/** How Pitchfork spells it, and others do, with what it is here. */
const ELSEWHERE: Readonly<Record<string, string>> = {
  instances: 'workers',
  worker_processes: 'workers',
  refork_after: 'refork',
  max_memory_restart: 'memoryLimit',
  kill_timeout: 'drainTimeoutMs',
  listen: 'nothing: the program says where it listens',
};

type Reader<T> = (value: unknown) => T;

const YOUNG_SIZES = [1, 2, 4, 8, 16, 32, 64] as const;
const DAY_MS = 86_400_000;
const SIZES: Readonly<Record<string, number>> = { '': 1, B: 1, KB: 1e3, MB: 1e6, GB: 1e9 };

/** V8 counts it in MiB and takes powers of two. */
const young: Reader<number | false> = (value) => {
  if (value === false || YOUNG_SIZES.some((one) => one === value)) return value as number | false;
  throw new TypeError(`it is ${YOUNG_SIZES.join(', ')} or false`);
};

const text: Reader<string> = (value) => {
  if (typeof value === 'string' && value !== '' && value.length < 4096) return value;
  throw new TypeError('it is text');
};

const whole =
  (least: number, most: number, what: string): Reader<number> =>
  (value) => {
    if (typeof value === 'number' && Number.isSafeInteger(value) && value >= least && value <= most)
      return value;
    throw new TypeError(`it is ${what} from ${least} to ${most}`);
  };

const time = whole(1, DAY_MS, 'a number of milliseconds');

const size: Reader<number> = (value) => {
  const [, number = '', unit = ''] = /^(\d{1,12}(?:\.\d+)?) ?([kKMG]?B)?$/.exec(String(value)) ?? [];
  const factor = SIZES[unit.toUpperCase()];
  if (number === '' || factor === undefined)
    throw new TypeError('it is a number of bytes, or text such as 300MB');
  return Math.floor(Number(number) * factor);
};

const truth: Reader<boolean> = (value) => {
  if (typeof value === 'boolean') return value;
  throw new TypeError('it is true or false');
};

const thresholds: Reader<number[]> = (value) => {
  if (value === 'off' || value === false) return [];
  const list: unknown[] = Array.isArray(value) ? value : [null];
  // Pitchfork ends its list with false.
  const numbers = list.at(-1) === false ? list.slice(0, -1) : list;
  return numbers.map((one) => {
    if (typeof one === 'number' && Number.isSafeInteger(one) && one > 0) return one;
    throw new TypeError("it is a list of numbers of requests, such as [50, 100, 1000], or 'off'");
  });
};

const log: Reader<'plain' | 'prefix' | 'json'> = (value) => {
  if (value === 'plain' || value === 'prefix' || value === 'json') return value;
  throw new TypeError("it is 'plain', 'prefix' or 'json'");
};

const READERS = {
  name: text,
  workers: whole(1, 256, 'a whole number'),
  refork: thresholds,
  reforkAfterMs: time,
  reforkAfterGrowth: size,
  reforkWhenWarmMs: time,
  memoryLimit: size,
  diskLimit: size,
  youngGeneration: young,
  from: text,
  keep: truth,
  admin: text,
  log,
  timeoutMs: time,
  hardTimeoutMs: time,
  bootTimeoutMs: time,
  readyTimeoutMs: time,
  drainTimeoutMs: time,
  silenceTimeoutMs: time,
} satisfies { readonly [K in keyof Required<Settings>]: Reader<Required<Settings>[K]> };

const NAMES: readonly string[] = [...Object.keys(READERS), ...WORKER_HOOKS, ...MONITOR_HOOKS];

/**
 * Checks what a configuration file exports, a module. Returns its settings and the hooks that run in the server.
 * Throws ERR_FORKPOINT_CONFIG, which names the file, the property, and what it has to be.
 */
export function parseConfig(module: unknown, file: string): { settings: Settings; hooks: MonitorHooks } {
  const config = exportOf(module, file);
  const settings: Record<string, unknown> = {};
  const hooks: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(config)) {
    if (value === undefined) continue;
    if (!NAMES.includes(name)) throw unknownName(name, file);
    const reader: Reader<unknown> | undefined = Reflect.get(READERS, name) as Reader<unknown> | undefined;
    try {
      if (reader !== undefined) settings[name] = reader(value);
      else if (typeof value !== 'function') throw new TypeError('it is a function');
      else if (MONITOR_HOOKS.some((one) => one === name)) hooks[name] = value;
    } catch (error) {
      const why = error instanceof Error ? error.message : String(error);
      throw wrong(`${file}: \`${name}\` cannot be ${shown(value)}: ${why}`);
    }
  }
  const { timeoutMs, hardTimeoutMs } = settings as Settings;
  if (timeoutMs !== undefined && hardTimeoutMs !== undefined && hardTimeoutMs <= timeoutMs)
    throw wrong(`${file}: \`hardTimeoutMs\` has to be longer than \`timeoutMs\``);
  return { settings, hooks };
}

function exportOf(module: unknown, file: string): object {
  let value: unknown = Object(module);
  // TypeScript's CommonJS has its default below the module's own.
  for (let depth = 0; depth < 2; depth++)
    if (typeof value === 'object' && value !== null && 'default' in value) value = value.default;
  if (typeof value === 'object' && value !== null && !Array.isArray(value) && !(Symbol.toStringTag in value))
    return value;
  throw wrong(`${file} exports no object as its default`, 'export default { workers: 4 };');
}

function unknownName(name: string, file: string): SupervisorError {
  const other = ELSEWHERE[name];
  const [close] = closeMatches(camel(name), NAMES);
  const hint =
    other === undefined
      ? close === undefined
        ? `There are: ${NAMES.join(', ')}`
        : `Did you mean \`${close}\`?`
      : `Here it is ${other.includes(' ') ? other : `\`${other}\``}`;
  return wrong(`${file}: there is no setting \`${name}\``, hint);
}

/** Pitchfork's names in the spelling of JavaScript. */
function camel(name: string): string {
  return name.replaceAll(/_([a-z])/g, (_, letter: string) => letter.toUpperCase());
}

function shown(value: unknown): string {
  return (typeof value === 'function' ? 'a function' : (JSON.stringify(value) ?? String(value))).slice(0, 60);
}

function wrong(message: string, hint?: string): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_CONFIG', message, { hint });
}
