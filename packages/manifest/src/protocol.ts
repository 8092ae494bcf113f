import { CheckFailure, dictionary, flag, integer, list, object, oneOf, partial, text } from './check.ts';
import type { Shape } from './check.ts';
import { ManifestError } from './error.ts';

/** Version of the control directory's lines. */
export const PROTOCOL_VERSION = 1;

/** Longest request line, in UTF-16 units: PIPE_BUF is 4,096 bytes, but who owns the FIFO alone may write more. */
export const MAX_REQUEST_LENGTH = 1 << 20;

/** Most children of one fork. */
export const MAX_CHILDREN = 1000;

/** Something that stands in the way of a checkpoint. */
export interface Resource {
  readonly fd?: number;
  readonly kind: string;
  readonly what: string;
  readonly pid?: number;
  /** Where it was opened, one frame a line, as far as that was traced. */
  readonly stack?: string;
}

const resource = (value: unknown, where: string): Resource => {
  const needed = object({ kind: text(256), what: text(65_536) })(value, where);
  return {
    ...needed,
    ...partial({ fd: integer(0, 1 << 30), pid: integer(0, 4_194_304), stack: text(65_536) })(value, where),
  };
};

/** Checks a list of resources, at most 4,096; throws a CheckFailure. */
export const resourceList = list(resource, 4096);

const needed = object({
  v: oneOf(PROTOCOL_VERSION),
  op: oneOf('join', 'checkpoint', 'fork', 'prepare', 'ready', 'cancel'),
  pid: integer(0, 4_194_304),
});

const optional = {
  to: text(4096, /./s),
  cwd: text(4096, /^\//),
  stop: flag,
  labels: dictionary(text(65_536), 1024, /^[^\s=\0]{1,256}$/),
  timeoutMs: integer(1, 86_400_000),
  sync: flag,
  link: flag,
  compress: oneOf('zstd'),
  dryRun: flag,
  uncoordinated: flag,
  ask: text(64, /^[A-Za-z0-9_-]+$/),
  message: text(65_536),
  resources: resourceList,
  count: integer(1, MAX_CHILDREN),
  args: list(text(65_536), 4096),
  env: dictionary(text(65_536), 4096, /^[^=\0]+$/),
  stdio: oneOf('pipe', 'inherit', 'ignore', 'log'),
  detached: flag,
  hostname: text(64, /^[A-Za-z0-9%.-]+$/),
  listen: dictionary(text(4096, /./s), 256, /./s),
  socket: text(4096, /^(\/.*\/)?[A-Za-z0-9._-]+$/s),
};

/** What a process asks for; `pid` is one of the pod, or 0 when the asker is outside. */
export type Request = ReturnType<typeof needed> & Partial<Shape<typeof optional>>;

/**
 * Parses one request line. Fields that are not known are dropped.
 * Throws ERR_FORKPOINT_PROTOCOL, naming the field.
 */
export function parseRequest(line: string): Request {
  if (line.length > MAX_REQUEST_LENGTH) throw wrong(`it is longer than ${MAX_REQUEST_LENGTH} characters`);
  let value: unknown;
  try {
    value = JSON.parse(line);
  } catch (cause) {
    throw wrong('it is not JSON', cause);
  }
  try {
    const request: Request = { ...needed(value, ''), ...partial(optional)(value, '') };
    // Who asked from outside takes back what it asked for by its name.
    const isOutside = request.op === 'cancel' && request.ask !== undefined;
    if (!['checkpoint', 'fork', 'join'].includes(request.op) && request.pid === 0 && !isOutside) {
      throw new CheckFailure('pid is 0, which only a checkpoint or a fork may have');
    }
    return request;
  } catch (error) {
    if (error instanceof CheckFailure) throw wrong(error.message);
    throw error;
  }
}

/** Returns the line of a request, with its newline; throws ERR_FORKPOINT_PROTOCOL for what could not be read again. */
export function serializeRequest(request: Request): string {
  const line = JSON.stringify(request);
  parseRequest(line);
  return `${line}\n`;
}

/** What every outcome tells. */
export interface OutcomeFacts {
  readonly id: string;
  readonly image: string | null;
  readonly parentId: string | null;
  readonly generation: number;
  readonly index: number | null;
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly cwd: string | null;
  readonly elapsedMs: number;
}

/** What a request comes back with. */
export type Outcome = { readonly v: typeof PROTOCOL_VERSION } & OutcomeFacts &
  (
    | { readonly outcome: 'prepared' }
    | { readonly outcome: 'published'; readonly children?: readonly string[] }
    | { readonly outcome: 'continued'; readonly pending?: boolean; readonly children?: readonly string[] }
    | { readonly outcome: 'restored'; readonly reseed: boolean }
    | {
        readonly outcome: 'failed';
        readonly code: string;
        readonly message: string;
        readonly hint?: string;
        readonly resources?: readonly Resource[];
      }
  );

/** Returns the line of an outcome, with its newline. */
export function serializeOutcome(outcome: Outcome): string {
  return `${JSON.stringify(outcome)}\n`;
}

/** Returns ERR_FORKPOINT_PROTOCOL for a line that is wrong. */
function wrong(problem: string, cause?: unknown): ManifestError {
  return new ManifestError('ERR_FORKPOINT_PROTOCOL', `the request is not usable: ${problem}`, { cause });
}
