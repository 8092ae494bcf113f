import { CheckpointException } from './errors.ts';
import type { CheckpointOptions, ForkOptions } from './types.ts';

const NAMES: readonly string[] = ['labels', 'timeoutMs', 'link', 'compress', 'sync'];

/**
 * Returns the fields of a request; throws CheckpointException ERR_FORKPOINT_OPTIONS for values of the wrong type.
 */
export function checkpointRequest(
  stop: boolean,
  dest: string | undefined,
  options: CheckpointOptions,
): Readonly<Record<string, unknown>> {
  if (dest !== undefined && (typeof dest !== 'string' || dest === '')) {
    throw invalid('the destination of a checkpoint is a path or a name', dest);
  }
  if (typeof options !== 'object' || options === null)
    throw invalid('checkpoint options are an object', options);
  const unknownName = Object.keys(options).find((name) => !NAMES.includes(name));
  if (unknownName !== undefined) throw invalid('there is no such checkpoint option', unknownName);
  const { labels, timeoutMs, link, compress, sync } = options;
  const isLabels = typeof labels === 'object' && labels !== null && !Array.isArray(labels);
  if (
    labels !== undefined &&
    !(isLabels && Object.values(labels).every((label) => typeof label === 'string'))
  ) {
    throw invalid('labels are an object of strings', labels);
  }
  if (timeoutMs !== undefined && !(Number.isFinite(timeoutMs) && timeoutMs > 0)) {
    throw invalid('timeoutMs is a number of milliseconds above 0', timeoutMs);
  }
  for (const flag of [link, sync]) {
    if (flag !== undefined && typeof flag !== 'boolean')
      throw invalid('link and sync are true or false', flag);
  }
  if (compress !== undefined && compress !== 'zstd')
    throw invalid("compress is 'zstd', the only codec (lz4 was measured, and makes larger images)", compress);
  // JSON leaves out what is undefined.
  return { to: dest, cwd: process.cwd(), stop, labels, timeoutMs, link, compress, sync };
}

const FORK_NAMES: readonly string[] = [
  'count',
  'env',
  'args',
  'stdio',
  'detached',
  'signal',
  'listen',
  'hostname',
  'timeoutMs',
];
/** Most children of one fork. */
const MAX_CHILDREN = 1000;

/** Returns the fields of a request for children; throws CheckpointException ERR_FORKPOINT_OPTIONS for values of the wrong type. */
export function forkRequest(
  options: ForkOptions,
): Readonly<Record<string, unknown>> & { readonly count: number } {
  if (typeof options !== 'object' || options === null) throw invalid('fork options are an object', options);
  const unknownName = Object.keys(options).find((name) => !FORK_NAMES.includes(name));
  if (unknownName !== undefined) throw invalid('there is no such fork option', unknownName);
  const {
    count = 1,
    env,
    args,
    stdio = 'inherit',
    detached = false,
    signal,
    listen,
    hostname,
    timeoutMs,
  } = options;
  if (!Number.isSafeInteger(count) || count < 1 || count > MAX_CHILDREN)
    throw invalid(`count is a whole number from 1 to ${MAX_CHILDREN}`, count);
  if (env !== undefined && !isTexts(env)) throw invalid('env is an object of strings', env);
  if (listen !== undefined && !isTexts(listen)) throw invalid('listen is an object of strings', listen);
  if (args !== undefined && !(Array.isArray(args) && args.every((arg) => typeof arg === 'string')))
    throw invalid('args are a list of strings', args);
  if (!['pipe', 'inherit', 'ignore'].includes(stdio))
    throw invalid('stdio is pipe, inherit or ignore', stdio);
  if (typeof detached !== 'boolean') throw invalid('detached is true or false', detached);
  if (signal !== undefined && !(signal instanceof AbortSignal))
    throw invalid('signal is an AbortSignal', signal);
  if (hostname !== undefined && !(typeof hostname === 'string' && /^[A-Za-z0-9%.-]{1,64}$/.test(hostname)))
    throw invalid('hostname is letters, digits, dots and dashes, at most 64', hostname);
  if (timeoutMs !== undefined && !(Number.isFinite(timeoutMs) && timeoutMs > 0))
    throw invalid('timeoutMs is a number of milliseconds above 0', timeoutMs);
  return { count, env, args, stdio, detached, listen, hostname, timeoutMs };
}

function isTexts(value: unknown): boolean {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false;
  return Object.values(value).every((text) => typeof text === 'string');
}

function invalid(rule: string, value: unknown): CheckpointException {
  const message = `${rule}, not ${JSON.stringify(value) ?? String(value)}`;
  return new CheckpointException({ code: 'ERR_FORKPOINT_OPTIONS', message });
}
