import { ManifestError } from './error.ts';

/** One record of a plan: a key and its strings. No string may contain NUL. */
export interface PlanRecord {
  readonly key: string;
  readonly fields: readonly string[];
}

/** What a decoder accepts at most; the defaults hold any environment that execve(2) takes. */
export interface PlanLimits {
  /** Length of the whole plan, or of one record in a stream, in bytes. */
  readonly maxBytes: number;
  readonly maxRecords: number;
  /** Strings in one record. */
  readonly maxFields: number;
}

/** Limits used when none are given: 16 MiB, 65,536 records, 262,144 strings in a record. */
export const DEFAULT_PLAN_LIMITS: PlanLimits = { maxBytes: 16 << 20, maxRecords: 65_536, maxFields: 262_144 };

const KEY = /^[a-z][a-z0-9-]{0,31}$/;
const HEAD = /^([a-z][a-z0-9-]{0,31}):(0|[1-9][0-9]{0,8})$/;
const MAGIC = 'forkpoint-plan';

const fail = (message: string): never => {
  throw new ManifestError('ERR_FORKPOINT_PLAN_INVALID', message);
};

/**
 * Encodes records as NUL-terminated strings: `key:n`, then n strings each.
 * Throws ERR_FORKPOINT_PLAN_INVALID for a bad key or a string with NUL or a lone surrogate, which bytes cannot carry.
 */
export function encodePlan(records: readonly PlanRecord[]): Uint8Array {
  const parts: string[] = [];
  for (const { key, fields } of records) {
    if (!KEY.test(key)) fail(`a plan cannot hold the key ${JSON.stringify(key)}`);
    parts.push(`${key}:${fields.length}\0`);
    for (const field of fields) {
      if (field.includes('\0')) fail(`a field of the plan record "${key}" contains a NUL byte`);
      if (/\p{Surrogate}/u.test(field))
        fail(`a field of the plan record "${key}" is not well-formed Unicode`);
      parts.push(field, '\0');
    }
  }
  return new TextEncoder().encode(parts.join(''));
}

/**
 * Decodes a whole plan into its records.
 * Throws ERR_FORKPOINT_PLAN_INVALID when it is cut short, malformed, not UTF-8 or beyond the limits.
 */
export function decodePlan(bytes: Uint8Array, limits: PlanLimits = DEFAULT_PLAN_LIMITS): PlanRecord[] {
  if (bytes.length > limits.maxBytes)
    fail(`a plan of ${bytes.length} bytes is over the limit of ${limits.maxBytes}`);
  const records: PlanRecord[] = [];
  let at = 0;
  while (at < bytes.length) {
    if (records.length >= limits.maxRecords) fail(`a plan has more than ${limits.maxRecords} records`);
    const next = decodeOne(bytes, at, limits);
    if (next === undefined) return fail(`the plan is cut short after ${records.length} records`);
    records.push(next.record);
    at = next.end;
  }
  return records;
}

/** Takes plan records out of a stream that arrives in pieces of any length. */
export interface RecordReader {
  /** Returns the records that this piece completes; throws ERR_FORKPOINT_PLAN_INVALID. */
  push(bytes: Uint8Array): PlanRecord[];
  /** Throws ERR_FORKPOINT_PLAN_INVALID when the stream stops inside a record. */
  end(): void;
}

/** Returns a reader for a stream of records; the limits hold for each record. */
export function createRecordReader(limits: PlanLimits = DEFAULT_PLAN_LIMITS): RecordReader {
  let pending = new Uint8Array(0);
  return {
    push(bytes) {
      const joined = new Uint8Array(pending.length + bytes.length);
      joined.set(pending);
      joined.set(bytes, pending.length);
      pending = joined;
      if (bytes.length === 0) return [];
      const records: PlanRecord[] = [];
      let at = 0;
      while (at < pending.length) {
        const next = decodeOne(pending, at, limits);
        if (next === undefined) break;
        records.push(next.record);
        at = next.end;
      }
      pending = pending.slice(at);
      if (pending.length > limits.maxBytes) fail(`a record is over the limit of ${limits.maxBytes} bytes`);
      return records;
    },
    end() {
      if (pending.length > 0) fail('the stream of records is cut short');
    },
  };
}

/** Returns the first record of every plan, `forkpoint-plan:2 KIND VERSION`. */
export function planHeader(kind: string, version: number): PlanRecord {
  return { key: MAGIC, fields: [kind, String(version)] };
}

/**
 * Checks the first record of a plan and returns the others.
 * Throws ERR_FORKPOINT_PLAN_INVALID when the plan is of another kind or version.
 */
export function planBody(
  records: readonly PlanRecord[],
  kind: string,
  version: number,
): readonly PlanRecord[] {
  const [head, ...body] = records;
  if (head?.key !== MAGIC || head.fields.length !== 2) return fail('this is not a forkpoint plan');
  const [foundKind, foundVersion] = head.fields;
  if (foundKind !== kind)
    return fail(`expected a plan of kind ${kind} and found one of kind ${JSON.stringify(foundKind)}`);
  if (foundVersion !== String(version)) {
    return fail(
      `this forkpoint reads version ${version} of ${kind} plans, not version ${JSON.stringify(foundVersion)}`,
    );
  }
  return body;
}

function decodeOne(
  bytes: Uint8Array,
  start: number,
  limits: PlanLimits,
): { record: PlanRecord; end: number } | undefined {
  const headEnd = bytes.indexOf(0, start);
  if (headEnd < 0) {
    if (bytes.length - start > 64) fail('a plan record starts with an overlong key');
    return undefined;
  }
  const head = HEAD.exec(utf8(bytes.subarray(start, Math.min(headEnd, start + 64))));
  if (head?.[1] === undefined || headEnd - start > 64)
    return fail(`a plan record has a malformed head at byte ${start}`);
  const count = Number(head[2]);
  if (count > limits.maxFields)
    fail(`the plan record "${head[1]}" has ${count} fields, over the limit of ${limits.maxFields}`);
  const fields: string[] = [];
  let at = headEnd + 1;
  while (fields.length < count) {
    const end = bytes.indexOf(0, at);
    if (end < 0) return undefined;
    fields.push(utf8(bytes.subarray(at, end)));
    at = end + 1;
  }
  return { record: { key: head[1], fields }, end: at };
}

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true });

function utf8(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes);
  } catch (cause) {
    throw new ManifestError('ERR_FORKPOINT_PLAN_INVALID', 'a plan holds bytes that are not UTF-8', { cause });
  }
}
