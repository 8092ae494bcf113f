import { decodePlan, DEFAULT_PLAN_LIMITS, encodePlan, planBody, planHeader } from './plan.ts';
import type { PlanLimits } from './plan.ts';
import { invalid, RecordSet } from './record-set.ts';

/** How CRIU is called on this machine. */
export interface EnginePlan {
  /** The argument vector that CRIU's own arguments are appended to. */
  readonly criu: readonly string[];
  /** The same for those who call it often, with fewer libraries; absent when there is none. */
  readonly quick?: readonly string[] | undefined;
  readonly version: string;
}

/** Encodes an engine plan; throws ERR_FORKPOINT_PLAN_INVALID for an empty argument vector. */
export function encodeEnginePlan(plan: EnginePlan): Uint8Array {
  if (plan.criu.length === 0) throw invalid('an engine plan needs the command that starts CRIU');
  return encodePlan([
    planHeader('engine', 1),
    { key: 'criu', fields: plan.criu },
    ...(plan.quick === undefined ? [] : [{ key: 'quick', fields: plan.quick }]),
    { key: 'version', fields: [plan.version] },
  ]);
}

/** Decodes an engine plan; throws ERR_FORKPOINT_PLAN_INVALID. */
export function decodeEnginePlan(bytes: Uint8Array, limits: PlanLimits = DEFAULT_PLAN_LIMITS): EnginePlan {
  const set = new RecordSet(planBody(decodePlan(bytes, limits), 'engine', 1));
  const criu = set.fields('criu');
  if (criu.length === 0) throw invalid('the plan record "criu" is empty');
  const quick = set.optional('quick');
  return { criu, ...(quick === undefined ? {} : { quick }), version: set.text('version') };
}
