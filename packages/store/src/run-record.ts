import {
  CheckFailure,
  flag,
  integer,
  list,
  nullable,
  object,
  oneOf,
  partial,
  text,
} from '@forkpoint/manifest';
import type { Check } from '@forkpoint/manifest';
import { StoreError } from './error.ts';

/** What `run.json` says about a run; the launcher writes it once. */
export interface RunRecord {
  readonly id: string;
  readonly name: string;
  readonly command: readonly string[];
  /** ISO 8601, UTC. */
  readonly startedAt: string;
  readonly generation: number;
  readonly parentId: string | null;
  /** Directory of the image that the run was restored from. */
  readonly image: string | null;
  /** The program's first process, a pid of the pod. */
  readonly pid: number;
  /** The inner launcher, a pid of the host. */
  readonly launcherPid: number;
  /** Start time of the launcher in clock ticks since boot, field 22 of /proc/PID/stat. */
  readonly launcherStart: string;
  readonly to: string | null;
  readonly toCwd: string | null;
  readonly isDetached: boolean;
  readonly reseed: boolean;
}

/** Longest `run.json` that is read, in bytes. */
export const MAX_RECORD_BYTES = 4 << 20;

const id = text(64, /^[0-9a-f]+$/);
const moment: Check<string> = (value, where) => {
  const time = new Date(typeof value === 'number' || typeof value === 'string' ? value : Number.NaN);
  if (Number.isNaN(time.getTime())) throw new CheckFailure(`${where} is not a time`);
  return time.toISOString();
};
const ticks: Check<string> = (value, where) =>
  typeof value === 'number' ? String(integer(0)(value, where)) : text(20, /^[0-9]+$/)(value, where);
const truth: Check<boolean> = (value, where) =>
  value === 0 || value === 1 ? value === 1 : flag(value, where);

const needed = object({
  v: oneOf(1),
  id,
  name: text(255),
  command: list(text(131_072), 65_536),
  startedAt: moment,
  generation: integer(0),
  pid: integer(1),
  launcherPid: integer(1),
  launcherStart: ticks,
});
const optional = {
  parentId: nullable(text(64)),
  image: nullable(text(4096)),
  to: nullable(text(4096)),
  toCwd: nullable(text(4096)),
  detached: truth,
  reseed: truth,
};

/** Parses the text of `run.json`; throws ERR_FORKPOINT_RUN_INVALID, naming the field. */
export function parseRunRecord(content: string): RunRecord {
  try {
    const value: unknown = JSON.parse(content);
    const { v: _v, ...must } = needed(value, '');
    const may = partial(optional)(value, '');
    return {
      ...must,
      parentId: may.parentId ?? null,
      image: may.image ?? null,
      to: may.to ?? null,
      toCwd: may.toCwd ?? null,
      isDetached: may.detached ?? false,
      reseed: may.reseed ?? true,
    };
  } catch (cause) {
    const problem = cause instanceof CheckFailure ? cause.message : 'it is not complete JSON';
    throw new StoreError('ERR_FORKPOINT_RUN_INVALID', `the record of a run is not usable: ${problem}`, {
      cause,
    });
  }
}

/** What the `state` file says. */
export type RunState = { readonly kind: 'running' } | { readonly kind: 'exited'; readonly code: number };

/** Parses the text of a run's `state` file; undefined when it says neither. */
export function parseState(content: string): RunState | undefined {
  const words = /^(running|exited (\d{1,3}))\s*$/.exec(content);
  if (words === null) return undefined;
  return words[2] === undefined ? { kind: 'running' } : { kind: 'exited', code: Number(words[2]) };
}
