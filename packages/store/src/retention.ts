import type { ImageEntry } from './entries.ts';
import { ByteCount } from './lineage.ts';

/** Which images may go. What is absent does not count. */
export interface Retention {
  /** Newest images of each program (the name of the run they were taken from) that stay. */
  readonly keep?: number;
  /** Oldest age that stays, in milliseconds. */
  readonly maxAgeMs?: number;
  /** Bytes of all images that may stay, each file once. */
  readonly quotaBytes?: number;
}

/** An image that goes, and why. */
export interface Expired {
  readonly image: ImageEntry;
  readonly why: string;
}

/**
 * Returns the images that go under a policy, oldest first. `isBusy` tells from which programs run: they stay, whatever the
 * policy. Pure.
 */
export function expired(
  images: readonly ImageEntry[],
  policy: Retention,
  given: { nowMs: number; isBusy: (image: ImageEntry) => boolean },
): Expired[] {
  const newestFirst = images.toSorted((a, b) => b.createdAt.localeCompare(a.createdAt));
  const seen = new Map<string, number>();
  const gone = new Map<ImageEntry, string>();
  for (const image of newestFirst) {
    const rank = (seen.get(image.origin.name) ?? 0) + 1;
    seen.set(image.origin.name, rank);
    if (given.isBusy(image)) continue;
    if (policy.keep !== undefined && rank > policy.keep)
      gone.set(image, `${policy.keep} newer images of ${image.origin.name}`);
    else if (policy.maxAgeMs !== undefined && given.nowMs - Date.parse(image.createdAt) > policy.maxAgeMs)
      gone.set(image, 'too old');
  }
  for (const image of overQuota(newestFirst, gone, policy.quotaBytes, given.isBusy))
    gone.set(image, 'over the quota');
  return newestFirst
    .toReversed()
    .filter((image) => gone.has(image))
    .map((image) => ({ image, why: gone.get(image) ?? '' }));
}

function overQuota(
  newestFirst: readonly ImageEntry[],
  gone: ReadonlyMap<ImageEntry, string>,
  quotaBytes: number | undefined,
  isBusy: (image: ImageEntry) => boolean,
): ImageEntry[] {
  if (quotaBytes === undefined) return [];
  const over: ImageEntry[] = [];
  const staying = newestFirst.filter((image) => !gone.has(image));
  const count = new ByteCount(staying);
  for (const image of staying.toReversed()) {
    if (count.totalBytes <= quotaBytes) break;
    if (isBusy(image)) continue;
    count.remove(image);
    over.push(image);
  }
  return over;
}
