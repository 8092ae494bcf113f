import { HARMLESS_MESSAGES, LOG_CAUSES } from './engine-log-table.ts';

/** What stopped CRIU, as far as its log tells. */
export type EngineLogCode =
  | 'io-uring'
  | 'unix-socket'
  | 'tcp-connection'
  | 'address-in-use'
  | 'file-lock'
  | 'inotify'
  | 'file-changed'
  | 'file-missing'
  | 'deleted-file'
  | 'pid-in-use'
  | 'mount'
  | 'session'
  | 'space'
  | 'memory'
  | 'limits'
  | 'seccomp'
  | 'credentials'
  | 'traced'
  | 'namespace'
  | 'network'
  | 'terminal'
  | 'device'
  | 'ipc'
  | 'cpu'
  | 'kernel'
  | 'image'
  | 'slot'
  | 'gone'
  | 'permission'
  | 'timeout'
  | 'engine'
  | 'unknown';

/** One cause, made of CRIU's log. `code` is `unknown` and the rest empty when the log holds no error. */
export interface EngineLog {
  readonly code: EngineLogCode;
  /** A sentence without a full stop; null when no error was found. */
  readonly reason: string | null;
  readonly hint: string | null;
  /** CRIU's own error lines without the harmless ones, in order, at most 20 of at most 400 characters. */
  readonly errors: readonly string[];
}

/** A message that is known: `reason` and `hint` may quote the pattern's groups as `$1`, `$2`. */
export interface LogCause {
  readonly pattern: RegExp;
  readonly code: EngineLogCode;
  readonly reason: string;
  readonly hint?: string;
}

const MAX_TEXT = 4 << 20;
const MAX_ERRORS = 20;
const MAX_LINE = 400;
/** A line of CRIU's log: time, pid or part, severity with the place in CRIU's source, text. All but the last may be absent. */
const LINE =
  /^(?:\([0-9.]+\) )?(?:.{0,80}?\b)?(Error|Warn|BUG|FATAL)\s*(?:\(([^)]*)\)|at ([^\s]+))?:?\s?(.*)$/;

/**
 * Returns the cause that CRIU's log names: the first known message in the order of the log, for what follows it is mostly
 * its consequence. Of a longer text only the last 4 MiB are read.
 */
export function readEngineLog(text: string): EngineLog {
  const errors: string[] = [];
  const notes: string[] = [];
  for (const line of text.slice(-MAX_TEXT).split('\n')) {
    const short = line.slice(0, MAX_LINE).trim();
    const severity = LINE.exec(short)?.[1];
    if (severity === undefined || HARMLESS_MESSAGES.some((pattern) => pattern.test(short))) continue;
    const kept = severity === 'Warn' ? notes : errors;
    if (kept.length < 2 * MAX_ERRORS) kept.push(short);
  }
  if (errors.length === 0) return { ...waiting(text), errors };
  const kept = errors.slice(0, MAX_ERRORS);
  // Particular causes come first in the table; a vague one counts only when no error of the log has a better.
  for (const isVague of [false, true]) {
    for (const line of [...errors, ...notes]) {
      const cause = LOG_CAUSES.find(
        ({ pattern, code }) => (code === 'engine') === isVague && pattern.test(line),
      );
      if (cause !== undefined) return { ...explain(cause, line), errors: kept };
    }
  }
  const message = (errors[0] ?? '').replace(/^\([0-9.]+\)\s*/, '');
  return { code: 'unknown', reason: `CRIU stopped with: ${message}`, hint: null, errors: kept };
}

/**
 * A restore takes file locks back with calls that wait (criu/file-lock.c): when another process has one, the log simply
 * ends there. Only a log with steps (-v3) shows it.
 */
function waiting(text: string): { code: EngineLogCode; reason: string | null; hint: string | null } {
  const last = text.slice(-MAX_LINE).trimEnd().split('\n').at(-1) ?? '';
  const lock = /\((?:flock|posix)\)flag: .* pid: (\d+), fd: (\d+)/.exec(last);
  if (lock === null) return { code: 'unknown', reason: null, hint: null };
  return {
    code: 'file-lock',
    reason: `the file lock of descriptor ${lock[2] ?? ''} of process ${lock[1] ?? ''} is held by another process`,
    hint: 'end the process that holds the lock, such as the original program',
  };
}

function explain(
  cause: LogCause,
  line: string,
): { code: EngineLogCode; reason: string; hint: string | null } {
  const match = cause.pattern.exec(line);
  const fill = (template: string): string =>
    template.replace(/\$([1-9])/g, (_, index: string) => (match?.[Number(index)] ?? '').trim());
  return {
    code: cause.code,
    reason: fill(cause.reason),
    hint: cause.hint === undefined ? null : fill(cause.hint),
  };
}
