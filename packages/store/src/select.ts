import type { ImageEntry } from './entries.ts';
import { StoreError } from './error.ts';
import { hasLabels } from './lineage.ts';
import type { Finding } from './preflight.ts';

/**
 * Returns the newest image with all of the labels that `check` finds nothing against; `onPassedOver` hears of newer ones. Throws
 * ERR_FORKPOINT_IMAGE_NOT_FOUND when no image has the labels, or when none of them can be restored, with the reasons of
 * the newest.
 */
export async function selectByLabels(
  images: readonly ImageEntry[],
  labels: Readonly<Record<string, string>>,
  check: (image: string) => Promise<readonly Finding[]>,
  onPassedOver: (image: ImageEntry, found: readonly Finding[]) => void = () => undefined,
): Promise<ImageEntry> {
  const wanted = Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(' ');
  const candidates = images
    .filter((image) => hasLabels(image, labels))
    .sort((a, b) => b.createdAt.localeCompare(a.createdAt));
  const passed: { image: ImageEntry; found: readonly Finding[] }[] = [];
  for (const image of candidates) {
    const found = await check(image.path);
    if (found.length === 0) {
      for (const one of passed) onPassedOver(one.image, one.found);
      return image;
    }
    passed.push({ image, found });
  }
  const reasons = passed[0]?.found;
  if (reasons === undefined) {
    throw new StoreError('ERR_FORKPOINT_IMAGE_NOT_FOUND', `no image of the store has the label ${wanted}`, {
      hint: 'See the labels with `forkpoint ls`',
    });
  }
  const why = reasons.map(({ message }) => message).join('; ');
  throw new StoreError(
    'ERR_FORKPOINT_IMAGE_NOT_FOUND',
    `none of the ${candidates.length} images with the label ${wanted} can be restored here; of the newest: ${why}`,
    { hint: reasons.find(({ hint }) => hint !== undefined)?.hint ?? 'See them with `forkpoint ls`' },
  );
}
