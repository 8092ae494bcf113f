import { decodePlan, DEFAULT_PLAN_LIMITS, encodePlan, planBody, planHeader } from './plan.ts';
import type { PlanLimits } from './plan.ts';
import { invalid, RecordSet } from './record-set.ts';

/** How CRIU is called on this machine. */
export interface EnginePlan {
  /** The argument vector that CRIU's own arguments are appended to. */
  readonly criu: readonly string[];
  readonly version: string;
}

/** Encodes an engine plan; throws ERR_FORKPOINT_PLAN_INVALID for an empty argument vector. */
export function encodeEnginePlan(plan: EnginePlan): Uint8Array {
  if (plan.criu.length === 0) throw invalid('an engine plan needs the command that starts CRIU');
  return encodePlan([
    planHeader('engine', 1),
    { key: 'criu', fields: plan.criu },
    { key: 'version', fields: [plan.version] },
  ]);
}

/** Decodes an engine plan; throws ERR_FORKPOINT_PLAN_INVALID. */
export function decodeEnginePlan(bytes: Uint8Array, limits: PlanLimits = DEFAULT_PLAN_LIMITS): EnginePlan {
  const set = new RecordSet(planBody(decodePlan(bytes, limits), 'engine', 1));
  const criu = set.fields('criu');
  if (criu.length === 0) throw invalid('the plan record "criu" is empty');
  return { criu, version: set.text('version') };
}
