import { CoreError } from './errors.ts';
import type { BlockingResource, HookContext } from './types.ts';

/** Longest line that is read from the control directory, in bytes. */
export const MAX_LINE_BYTES = 1 << 20;

/**
 * Longest request in bytes with its newline: writes of up to PIPE_BUF (4096, linux/limits.h) are atomic, longer ones
 * of two processes could mix in the FIFO.
 */
export const MAX_REQUEST_BYTES = 4096;

/** Run identity as hooks see it, with whether the clone asked to keep the image's random state. */
export interface Answer {
  readonly outcome: 'prepared' | 'continued' | 'restored' | 'published' | 'failed';
  readonly identity: HookContext;
  readonly cwd: string | null;
  readonly isReseeded: boolean;
  readonly isPending: boolean;
  /** Where a child finds its parent; null for any other clone. */
  readonly fork: {
    readonly index: number;
    readonly socket: string | null;
    /** Whether this clone stands still until it is handed over. */
    readonly isParked: boolean;
  } | null;
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly resources: BlockingResource[];
}

/** A checkpoint that somebody outside has asked for. */
export interface Ask {
  readonly ask: string;
  readonly pids: readonly number[];
  /** Wall clock at which nobody waits for this process any more, in milliseconds since 1970. */
  readonly until: number | undefined;
}

const OUTCOMES = ['prepared', 'continued', 'restored', 'published', 'failed'] as const;

type Fields = Readonly<Record<string, unknown>>;

/** Returns an outcome line as a checked value; throws CoreError for anything else. */
export function parseAnswer(line: string): Answer {
  const fields = parseObject(line, 'outcome');
  const outcome = OUTCOMES.find((name) => name === fields['outcome']);
  if (outcome === undefined) {
    throw new CoreError('ERR_FORKPOINT_PROTOCOL', `unknown outcome ${JSON.stringify(fields['outcome'])}`);
  }
  const hint = textOf(fields['hint'], '');
  return {
    outcome,
    identity: identityOf(fields),
    cwd: typeof fields['cwd'] === 'string' ? fields['cwd'] : null,
    isReseeded: fields['reseed'] !== false,
    isPending: fields['pending'] === true,
    fork: forkOf(fields['fork']),
    code: textOf(fields['code'], 'ERR_FORKPOINT_FAILED'),
    message: textOf(fields['message'], 'the checkpoint failed'),
    ...(hint === '' ? {} : { hint }),
    resources: resourcesOf(fields['resources']),
  };
}

/** Returns how worker threads go on after an answer; they do as well when none came. */
export function releaseOf(answer: Answer | undefined): 'continue' | 'restored' | 'restored-without-reseed' {
  if (answer?.outcome !== 'restored') return 'continue';
  return answer.isReseeded ? 'restored' : 'restored-without-reseed';
}

/** Returns the content of identity.json as a checked value; throws CoreError for anything else. */
export function parseIdentity(text: string): HookContext {
  return identityOf(parseObject(text, 'identity.json'));
}

/** Returns who a parked clone is once it is handed over with the arguments and variables of this line. */
export function parseAssignment(line: string, identity: HookContext): HookContext {
  const { args, env } = parseObject(line, 'assign');
  return identityOf({ ...identity, args, env: { ...identity.env, ...(isFields(env) ? env : {}) } });
}

/** Returns the content of ask.json as a checked value; throws CoreError for anything else. */
export function parseAsk(text: string): Ask {
  const fields = parseObject(text, 'ask.json');
  const ask = fields['ask'];
  const pids = fields['pids'];
  if ((typeof ask !== 'string' && typeof ask !== 'number') || !Array.isArray(pids)) {
    throw new CoreError('ERR_FORKPOINT_PROTOCOL', 'ask.json needs "ask" and "pids"');
  }
  return {
    ask: String(ask),
    pids: pids.filter((pid) => typeof pid === 'number'),
    until: numberOf(fields['until'], undefined),
  };
}

/** Returns a request as one line of at most MAX_REQUEST_BYTES; throws CoreError when it is longer. */
export function encodeRequest(request: Fields): Buffer {
  const line = Buffer.from(`${JSON.stringify({ v: 1, ...request })}\n`);
  if (line.length > MAX_REQUEST_BYTES) {
    throw new CoreError(
      'ERR_FORKPOINT_OPTIONS',
      `the request is ${line.length} bytes long and may have ${MAX_REQUEST_BYTES}; use fewer or shorter labels, or send more over a channel`,
    );
  }
  return line;
}

function parseObject(text: string, what: string): Fields {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (cause) {
    throw new CoreError('ERR_FORKPOINT_PROTOCOL', `${what} is not JSON: ${text.slice(0, 80)}`, { cause });
  }
  return isFields(value) ? value : fail(`${what} is not an object`);
}

function fail(message: string): never {
  throw new CoreError('ERR_FORKPOINT_PROTOCOL', message);
}

function isFields(value: unknown): value is Fields {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function identityOf(fields: Fields): HookContext {
  const env = isFields(fields['env']) ? fields['env'] : {};
  const args = Array.isArray(fields['args']) ? fields['args'] : [];
  return Object.freeze({
    id: textOf(fields['id'], ''),
    image: textOf(fields['image'], null),
    parentId: textOf(fields['parentId'], null),
    generation: numberOf(fields['generation'], 0),
    index: numberOf(fields['index'], null),
    args: Object.freeze(args.filter((arg) => typeof arg === 'string')),
    env: Object.freeze(
      Object.fromEntries(
        Object.entries(env).filter((pair): pair is [string, string] => typeof pair[1] === 'string'),
      ),
    ),
    elapsedMs: numberOf(fields['elapsedMs'], 0),
  });
}

function forkOf(value: unknown): Answer['fork'] {
  if (!isFields(value)) return null;
  return {
    index: numberOf(value['index'], 0),
    socket: textOf(value['socket'], null),
    isParked: value['parked'] === true,
  };
}

function resourcesOf(value: unknown): BlockingResource[] {
  if (!Array.isArray(value)) return [];
  return value.filter(isFields).map((fields) => ({
    kind: textOf(fields['kind'], 'unknown'),
    what: textOf(fields['what'], ''),
    ...(typeof fields['fd'] === 'number' ? { fd: fields['fd'] } : {}),
    ...(typeof fields['pid'] === 'number' ? { pid: fields['pid'] } : {}),
    ...(typeof fields['stack'] === 'string' ? { stack: fields['stack'] } : {}),
  }));
}

function textOf<T>(value: unknown, fallback: T): string | T {
  return typeof value === 'string' ? value : fallback;
}

function numberOf<T>(value: unknown, fallback: T): number | T {
  return typeof value === 'number' && Number.isFinite(value) ? value : fallback;
}
