import { encodePlan, planHeader } from '@forkpoint/manifest';
import type { PlanRecord } from '@forkpoint/manifest';
import { PREFIXES, namesOf, prefixDigest, valueDigest } from './environment.ts';
import type { Seen } from './record.ts';

/** What the launcher needs to know of one image of a command. */
export interface WarmPlan {
  /** The project that it was warmed for, an absolute path. */
  readonly project: string;
  /** Name of the command in `node_modules/.bin`. */
  readonly bin: string;
  /** The words of an ordinary start, in front of the arguments. */
  readonly cold: readonly string[];
  /** The node that was used, and whether it was found by way of PATH. */
  readonly node: string;
  readonly isSearched: boolean;
  /** Digest of the resource limits, as the launcher prints it. */
  readonly limits: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Variables that were read, and whether all were copied. */
  readonly read: readonly string[];
  readonly isCopied: boolean;
  readonly seen: readonly Seen[];
}

/** Encodes the plan of an image; throws ERR_FORKPOINT_PLAN_INVALID for strings that contain NUL. */
export function encodeWarmPlan(plan: WarmPlan): Uint8Array {
  const records: PlanRecord[] = [
    planHeader('warm', 1),
    { key: 'root', fields: [plan.project] },
    { key: 'bin', fields: [plan.bin] },
    { key: 'cold', fields: plan.cold },
    { key: 'node', fields: [plan.node] },
    { key: 'limits', fields: [plan.limits] },
    ...(plan.isSearched ? [{ key: 'search', fields: ['1'] }] : []),
    ...namesOf(plan.env, plan.read, plan.isCopied).map((name) => ({
      key: 'env',
      fields: [name, valueDigest(plan.env[name])],
    })),
    ...PREFIXES.map((prefix) => ({ key: 'envs', fields: [prefix, prefixDigest(plan.env, prefix)] })),
    ...plan.seen.map(({ look, path, stamp }) => ({ key: 'seen', fields: [look, path, stamp] })),
  ];
  return encodePlan(records);
}

/** Encodes what the launcher knows of a command: its words, and how a new image is made. */
export function encodeCommandPlan(words: readonly string[], maker: readonly string[]): Uint8Array {
  return encodePlan([
    planHeader('warm-command', 1),
    { key: 'word', fields: words },
    { key: 'maker', fields: maker },
  ]);
}
