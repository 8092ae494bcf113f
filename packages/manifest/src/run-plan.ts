import { decodePlan, DEFAULT_PLAN_LIMITS, encodePlan, planBody, planHeader } from './plan.ts';
import type { PlanLimits, PlanRecord } from './plan.ts';
import { fieldAt, invalid, RecordSet } from './record-set.ts';
import { parseCommand } from './command.ts';

/** Everything the launcher needs to start a run; paths are absolute. */
export interface RunPlan {
  readonly id: string;
  readonly name: string;
  /** The data directory. */
  readonly home: string;
  /** The directory of this run. */
  readonly dir: string;
  /** The working directory that the program starts in. */
  readonly cwd: string;
  /** The file that is executed, an absolute path. */
  readonly file: string;
  /** The argument vector that the program sees. */
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  /** The argument vector as the user typed it. */
  readonly command: readonly string[];
  /** Where checkpoints go by default, and the directory that this is relative to. */
  readonly to: { readonly dest: string; readonly cwd: string } | null;
  readonly isDetached: boolean;
  readonly isJson: boolean;
  /** The argument vector of the checkpoint worker. */
  readonly worker: readonly string[];
}

const VERSION = 1;

/** Encodes a run plan; throws ERR_FORKPOINT_PLAN_INVALID for strings that contain NUL or for an empty argument vector. */
export function encodeRunPlan(plan: RunPlan): Uint8Array {
  if (plan.args.length === 0) throw invalid('a run plan needs a program to start');
  const records: PlanRecord[] = [
    planHeader('run', VERSION),
    { key: 'id', fields: [plan.id] },
    { key: 'name', fields: [plan.name] },
    { key: 'home', fields: [plan.home] },
    { key: 'dir', fields: [plan.dir] },
    { key: 'cwd', fields: [plan.cwd] },
    { key: 'file', fields: [plan.file] },
    { key: 'arg', fields: plan.args },
    { key: 'env', fields: Object.entries(plan.env).flat() },
    { key: 'command', fields: [JSON.stringify(plan.command)] },
  ];
  if (plan.to !== null) records.push({ key: 'to', fields: [plan.to.dest, plan.to.cwd] });
  records.push(
    { key: 'detach', fields: [plan.isDetached ? '1' : '0'] },
    { key: 'json', fields: [plan.isJson ? '1' : '0'] },
    { key: 'worker', fields: plan.worker },
  );
  return encodePlan(records);
}

/** Decodes a run plan; throws ERR_FORKPOINT_PLAN_INVALID. */
export function decodeRunPlan(bytes: Uint8Array, limits: PlanLimits = DEFAULT_PLAN_LIMITS): RunPlan {
  const set = new RecordSet(planBody(decodePlan(bytes, limits), 'run', VERSION));
  const args = set.fields('arg');
  if (args.length === 0) throw invalid('the plan record "arg" is empty');
  const to = set.optional('to');
  return {
    id: set.text('id'),
    name: set.text('name'),
    home: set.text('home'),
    dir: set.text('dir'),
    cwd: set.text('cwd'),
    file: set.text('file'),
    args,
    env: environmentOf(set.fields('env')),
    command: parseCommand(set.text('command')),
    to: to === undefined ? null : { dest: fieldAt(to, 0, 'to'), cwd: fieldAt(to, 1, 'to') },
    isDetached: set.flag('detach'),
    isJson: set.flag('json'),
    worker: set.fields('worker'),
  };
}

function environmentOf(fields: readonly string[]): Record<string, string> {
  if (fields.length % 2 !== 0) throw invalid('the plan record "env" has a name without a value');
  const pairs: [string, string][] = [];
  for (let at = 0; at < fields.length; at += 2) {
    pairs.push([fieldAt(fields, at, 'env'), fieldAt(fields, at + 1, 'env')]);
  }
  // fromEntries defines properties, so that a variable called __proto__ stays a variable.
  return Object.fromEntries(pairs);
}
