import { decodePlan, DEFAULT_PLAN_LIMITS, encodePlan, planBody, planHeader } from './plan.ts';
import type { PlanLimits } from './plan.ts';
import { fieldAt, integerOf, invalid, RecordSet } from './record-set.ts';

/** Ranges of one file that a restore reads ahead. */
export interface PrefetchFile {
  /** A name within the image, such as `layers/NAME`, or an absolute path. */
  readonly path: string;
  /** Bytes, in order; none means the whole file. */
  readonly ranges: readonly { readonly offset: number; readonly length: number }[];
}

/** What a restore reads ahead, `prefetch.plan` of a trained image. */
export interface PrefetchPlan {
  readonly files: readonly PrefetchFile[];
}

/** Encodes a prefetch plan; throws ERR_FORKPOINT_PLAN_INVALID for paths that contain NUL. */
export function encodePrefetchPlan({ files }: PrefetchPlan): Uint8Array {
  return encodePlan([
    planHeader('prefetch', 1),
    ...files.map(({ path, ranges }) => ({
      key: 'read',
      fields: [path, ...ranges.flatMap(({ offset, length }) => [String(offset), String(length)])],
    })),
  ]);
}

/** Decodes a prefetch plan; throws ERR_FORKPOINT_PLAN_INVALID. */
export function decodePrefetchPlan(
  bytes: Uint8Array,
  limits: PlanLimits = DEFAULT_PLAN_LIMITS,
): PrefetchPlan {
  const set = new RecordSet(planBody(decodePlan(bytes, limits), 'prefetch', 1));
  const files = set.all('read').map((fields) => {
    const path = fieldAt(fields, 0, 'read');
    if (path === '' || path.split('/').includes('..'))
      throw invalid('the plan record "read" leaves the image');
    if (fields.length % 2 === 0) throw invalid('the plan record "read" ends within a range');
    const ranges: { offset: number; length: number }[] = [];
    for (let i = 1; i < fields.length; i += 2)
      ranges.push({
        offset: integerOf(fieldAt(fields, i, 'read'), 'read'),
        length: integerOf(fieldAt(fields, i + 1, 'read'), 'read'),
      });
    return { path, ranges };
  });
  return { files };
}
