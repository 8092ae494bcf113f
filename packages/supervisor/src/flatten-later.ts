import { statSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { LAYERS, measureFragmentation } from '@forkpoint/linker';
import type { Fragmentation } from '@forkpoint/linker';
import { flatten, placesAt } from '@forkpoint/store';
import type { LauncherLink } from './link.ts';
import { thresholdFrom } from './link-image.ts';
import { openSource } from './source.ts';
import type { Surroundings } from './surroundings.ts';

/**
 * What flattening has to take away to be worth the copying: each of these many costs a restore some 5 ms (bench/NOTES.md,
 * "Chains").
 */
const MAPPINGS = 1000;
const COPIED_PAGES = 2000;
/** Page files may hold this many bytes more than twice what is mapped of them. */
const WASTE_BYTES = 64 << 20;
const LOWEST_PRIORITY = 19;
const NOTHING: Fragmentation = { mappings: 0, copiedPages: 0, layerBytes: 0 };
/** A restore that has begun reads the old directory for as long as this at most, in milliseconds. */
const GRACE_MS = 2000;

/** Returns whether flattening makes a restore quicker, or the image smaller, by so much that it should be done. */
export function isWorthFlattening(before: Fragmentation, after: Fragmentation): boolean {
  return (
    before.mappings - after.mappings >= MAPPINGS ||
    before.copiedPages - after.copiedPages >= COPIED_PAGES ||
    before.layerBytes > 2 * after.layerBytes + WASTE_BYTES
  );
}

/**
 * Returns whether an image may be worth it, by what is quickly seen. An image of a program that was never restored is flat.
 * Never throws: whoever asks has published an image, and that is what counts.
 */
export function mayNeedFlattening(image: string, surroundings: Surroundings): boolean {
  if (surroundings.identity.generation === 0) return false;
  try {
    return isWorthFlattening(fragmentationOf(image, surroundings), NOTHING);
  } catch (error) {
    process.stderr.write(`${image} was not measured: ${String(error)}\n`);
    return false;
  }
}

/**
 * Flattens a published image if that is worth it, with the lowest priority, until another request needs the worker. Never
 * throws: the image is as good as it was, and the next generation is flattened in its turn.
 */
export async function flattenLater(
  image: string,
  { link, surroundings, sync }: { link: LauncherLink; surroundings: Surroundings; sync: boolean },
): Promise<void> {
  try {
    setPriority(LOWEST_PRIORITY);
    const { isFlattened, before, after } = await flatten(image, {
      exchange: async (a, b) => await link.exchange(a, b),
      owner: surroundings.identity.id,
      isWorth: isWorthFlattening,
      signal: link.hurry,
      graceMs: GRACE_MS,
      sync,
      runs: placesAt(surroundings.home).runs,
      ...thresholdFrom(process.env),
    });
    if (isFlattened)
      process.stderr.write(`Flattened ${image}: ${describe(before)} became ${describe(after)}.\n`);
  } catch (error) {
    process.stderr.write(
      `${image} was not flattened: ${error instanceof Error ? error.message : String(error)}\n`,
    );
  }
}

function fragmentationOf(image: string, { controlDirectory }: Surroundings): Fragmentation {
  return measureFragmentation(
    openSource(image),
    join(controlDirectory, LAYERS),
    (layer) => statSync(join(image, LAYERS, layer)).size,
  );
}

function describe({ mappings, copiedPages, layerBytes }: Fragmentation): string {
  return `${mappings} mappings, ${copiedPages} copied pages and ${layerBytes} bytes`;
}
