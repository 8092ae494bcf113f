import { stat } from 'node:fs/promises';
import { join } from 'node:path';
import type { FlattenPlan } from '@forkpoint/linker';
import { assertUnchanged, carryDigests, digestsToCarry } from './carry-digests.ts';
import type { Digests, DigestOptions } from './digests.ts';
import { MANIFEST_FILE, RESTORE_PLAN_FILE } from './images.ts';
import type { Watch } from './packing.ts';
import { PREFETCH_FILE } from './prefetch.ts';

/** Returns the names of the files that flattening makes, manifest, restore plan and prefetch plan apart. */
export function madeBy({ files, assemblies }: FlattenPlan): Set<string> {
  return new Set([...files.keys(), ...assemblies.map(({ file }) => file)]);
}

/** Files that the flat image has not from the old one, manifest and restore plan apart: those are compared already. */
function replacedBy(plan: FlattenPlan): string[] {
  return [...madeBy(plan), ...plan.unused.map((layer) => `layers/${layer}`), PREFETCH_FILE];
}

/**
 * Returns the digests of an image that is about to be flattened, null when there are none, once everything that will be
 * written anew was compared with them: what is damaged must not come to count as good. `onTotal` hears of how many bytes
 * that are. Throws what assertUnchanged throws.
 */
export async function digestsBefore(
  image: string,
  plan: FlattenPlan,
  { onTotal, ...watch }: Watch & { readonly onTotal: (bytes: number) => void },
): Promise<Digests | null> {
  const digests = await digestsToCarry(image, { signal: watch.signal });
  if (digests === null) return null;
  const names = replacedBy(plan);
  onTotal(names.reduce((sum, name) => sum + (digests.files[name]?.size ?? 0), 0));
  await assertUnchanged(image, digests, names, watch);
  return digests;
}

/** Puts the digests of the flat image into its directory. Throws system errors, and the reason of the signal. */
export async function digestsAfter(
  directory: string,
  plan: FlattenPlan,
  old: Digests | null,
  options: DigestOptions,
): Promise<void> {
  const made = [...madeBy(plan), MANIFEST_FILE, RESTORE_PLAN_FILE];
  const isTrained = await stat(join(directory, PREFETCH_FILE)).then(
    () => true,
    // An image that was not trained has none.
    () => false,
  );
  if (isTrained) made.push(PREFETCH_FILE);
  await carryDigests(directory, old, { made, replaced: replacedBy(plan) }, options);
}
