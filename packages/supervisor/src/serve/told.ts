/** What a worker tells of itself, again and again. Counted from its start. */
export interface Told {
  /** How many restores lie behind it; null until it has said so. */
  readonly generation: number | null;
  /** Version of Node.js, without the v. */
  readonly node: string;
  /** Requests begun, and those that have no whole answer yet. */
  readonly requests: number;
  readonly active: number;
  /** Age of the oldest request without an answer, less what was granted, in milliseconds. */
  readonly oldestMs: number;
  /** How late a timer came last, in milliseconds. */
  readonly lagMs: number;
  /** The heap of V8 and what belongs to it outside, in bytes, as process.memoryUsage() has it. */
  readonly heapTotal: number;
  readonly heapUsed: number;
  readonly external: number;
  /** Code that V8 has compiled, in bytes: what is used of its code space. */
  readonly codeBytes: number;
  /** Time that answered requests took together, in seconds, and how many took up to each of BUCKETS, then the rest. */
  readonly seconds: number;
  readonly buckets: readonly number[];
}

/** Names of what is one number, and known. */
type Numbers = { [K in keyof Told]: Told[K] extends number ? K : never }[keyof Told];

/** Limits of the histogram of request times in seconds: those that prom-client has unless told otherwise. */
export const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10] as const;

/** A worker that has said nothing yet. */
export const NOTHING_TOLD: Told = {
  generation: null,
  node: '',
  requests: 0,
  active: 0,
  oldestMs: 0,
  lagMs: 0,
  heapTotal: 0,
  heapUsed: 0,
  external: 0,
  codeBytes: 0,
  seconds: 0,
  buckets: [],
};

/** Returns the message in a line; an empty one when it is none. */
export function parseLine(line: string): Record<string, unknown> {
  try {
    const value: unknown = JSON.parse(line);
    return typeof value === 'object' && value !== null ? { ...value } : {};
  } catch {
    // A program may write to every socket it finds; nothing follows from what is no message.
    return {};
  }
}

/** Returns what is known after a message; fields that are missing or of another kind stay as they were. */
export function retold(before: Told, message: Readonly<Record<string, unknown>>): Told {
  const number = (name: Numbers): number => countOf(message[name]) ?? before[name];
  const { node, buckets } = message;
  return {
    generation: countOf(message['generation']) ?? before.generation,
    node: typeof node === 'string' ? node.slice(0, 64) : before.node,
    requests: number('requests'),
    active: number('active'),
    oldestMs: number('oldestMs'),
    lagMs: number('lagMs'),
    heapTotal: number('heapTotal'),
    heapUsed: number('heapUsed'),
    external: number('external'),
    codeBytes: number('codeBytes'),
    seconds: number('seconds'),
    buckets:
      Array.isArray(buckets) && buckets.length === BUCKETS.length + 1
        ? buckets.map((one) => countOf(one) ?? 0)
        : before.buckets,
  };
}

function countOf(value: unknown): number | undefined {
  return typeof value === 'number' && Number.isFinite(value) && value >= 0 ? value : undefined;
}
