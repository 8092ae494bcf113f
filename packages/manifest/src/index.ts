export { ManifestError } from './error.ts';
export type { ManifestErrorCode } from './error.ts';
export {
  createRecordReader,
  decodePlan,
  DEFAULT_PLAN_LIMITS,
  encodePlan,
  planBody,
  planHeader,
} from './plan.ts';
export type { PlanLimits, PlanRecord, RecordReader } from './plan.ts';
export { decodeEnginePlan, encodeEnginePlan } from './engine-plan.ts';
export type { EnginePlan } from './engine-plan.ts';
export { decodePrefetchPlan, encodePrefetchPlan } from './prefetch-plan.ts';
export type { PrefetchFile, PrefetchPlan } from './prefetch-plan.ts';
export { decodeRunPlan, encodeRunPlan } from './run-plan.ts';
export type { RunPlan } from './run-plan.ts';
export { encodeChildPlan } from './child-plan.ts';
export type { ChildPlan, ChildStdio } from './child-plan.ts';
export { decodeRestorePlan, encodeRestorePlan } from './restore-plan.ts';
export type { ClockTime, PlanFile, PlanLock, PlanPart, PlanRead, RestorePlan } from './restore-plan.ts';
export type { PackedLayer } from './packed.ts';
export { packManifest, packPlan, storedName, unpackedKey, unpackManifest } from './packed.ts';
export { restorePlanOf } from './restore-plan-of.ts';
export type { RestorePlanExtra } from './restore-plan-of.ts';
export { TCP_OPTIONS } from './slot.ts';
export type { FileSlot, Slot, StdioSlot, TcpOption, TcpSlot, UnixSlot } from './slot.ts';
export { FORMAT_VERSION, OLDEST_FORMAT_VERSION } from './manifest.ts';
export type { Manifest, ManifestFile, ManifestLayer, ManifestProcess, ManifestSlot } from './manifest.ts';
export { MAX_MANIFEST_LENGTH, parseManifest, serializeManifest } from './parse-manifest.ts';
export { matchPolicy, parseFdPolicies, POLICY_ACTIONS, POLICY_FILE, POLICY_KINDS } from './fd-policies.ts';
export type { PolicyAction, PolicyKind, PolicyRule, PolicyTarget } from './fd-policies.ts';
export { checkPattern, expandPattern, hasPattern } from './pattern.ts';
export type { PatternValues } from './pattern.ts';
export { parseRequest, PROTOCOL_VERSION, serializeOutcome, serializeRequest } from './protocol.ts';
export type { Outcome, OutcomeFacts, Request, Resource } from './protocol.ts';
export {
  CheckFailure,
  dictionary,
  flag,
  integer,
  list,
  nullable,
  object,
  oneOf,
  partial,
  text,
} from './check.ts';
export type { Check, Checked, Fields, Shape } from './check.ts';
export { resourceList } from './protocol.ts';
