import { encodePlan, planHeader } from './plan.ts';
import type { PlanRecord } from './plan.ts';

/** What a child gets as its standard streams: lines to whoever forked it, the parent's own, /dev/null, or the log of its run. */
export type ChildStdio = 'pipe' | 'inherit' | 'ignore' | 'log';

/** Everything the launcher needs to start one child of a fork; paths are absolute. */
export interface ChildPlan {
  /** Id of the run that the child becomes. */
  readonly id: string;
  /** The data directory. */
  readonly home: string;
  /** Number of the child among those of its fork, from 0. */
  readonly index: number;
  /** Whether it outlives whoever forked it. */
  readonly isDetached: boolean;
  readonly stdio: ChildStdio;
  /** The socket at which whoever forked waits for the child's lines; null when nobody does. */
  readonly socket: string | null;
  /** Names of the descriptors that the launcher is given, in their order: standard streams and slots. */
  readonly inherit: readonly string[];
  /** Ids of the slots whose listeners the child shall not have. */
  readonly close: readonly string[];
  /** How long it may end by itself when whoever forked it is gone, in milliseconds; it is killed at once unless given. */
  readonly graceMs?: number;
  readonly hostname: string | null;
  /** Whether its members stand still after the restore until they are handed over (docs/protocol.md, `assign`). */
  readonly isParked?: boolean;
  /** Whether its own listening sockets leave room for siblings at the same port. */
  readonly sharesPorts?: boolean;
  /** Arguments of `forkpoint restore`, the child's image first. */
  readonly args: readonly string[];
  /** The argument vector of the checkpoint worker. */
  readonly worker: readonly string[];
}

/** Encodes the plan of a child; throws ERR_FORKPOINT_PLAN_INVALID for strings that contain NUL. */
export function encodeChildPlan(plan: ChildPlan): Uint8Array {
  const records: PlanRecord[] = [
    planHeader('child', 1),
    { key: 'id', fields: [plan.id] },
    { key: 'home', fields: [plan.home] },
    { key: 'index', fields: [String(plan.index)] },
    { key: 'detach', fields: [plan.isDetached ? '1' : '0'] },
    { key: 'stdio', fields: [plan.stdio] },
    // Pasted into the outcome: the program connects to the socket as well, for its channel.
    { key: 'fork', fields: [JSON.stringify(forkOf(plan))] },
    { key: 'inherit', fields: plan.inherit },
    { key: 'close', fields: plan.close },
    { key: 'arg', fields: plan.args },
    { key: 'worker', fields: plan.worker },
  ];
  if (plan.sharesPorts === true) records.push({ key: 'shares-ports', fields: ['1'] });
  if (plan.graceMs !== undefined) records.push({ key: 'grace', fields: [String(plan.graceMs)] });
  if (plan.socket !== null) records.push({ key: 'socket', fields: [plan.socket] });
  if (plan.hostname !== null) records.push({ key: 'hostname', fields: [plan.hostname] });
  return encodePlan(records);
}

function forkOf({ index, socket, isParked }: ChildPlan): object {
  return { index, socket, ...(isParked === true ? { parked: true } : {}) };
}
