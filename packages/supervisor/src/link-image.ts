import { closeSync, openSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { randomBytes } from 'node:crypto';
import { join } from 'node:path';
import { ImageDirectory } from '@forkpoint/image';
import { adoptLayers, CHANGES_MAX, inheritedLayers, LAYERS, link, moveLayers } from '@forkpoint/linker';
import type { LinkReport } from '@forkpoint/linker';
import { openSource } from './source.ts';
import { goFinder, isNoexec } from '@forkpoint/store';
import { readText } from './proc.ts';
import type { Surroundings } from './surroundings.ts';

/** File name of the preload shim (packages/launcher/shim). */
const SHIM = 'shim.so';

/**
 * Links a fresh image in place: its pages files become layers, and layers that the program has mapped from earlier
 * images get a name in this one too, so that the image depends on nothing. Returns what was linked, by process, and how many bytes
 * had to be copied because they could not be linked. `threshold` is the shortest run that is linked, in pages.
 * Throws ImageError and system errors; the directory is then of no use.
 */
export function linkImage(
  directory: string,
  surroundings: Pick<Surroundings, 'controlDirectory' | 'runDirectory'>,
  threshold?: number,
  image = new ImageDirectory(openSource(directory)),
): { reports: ReadonlyMap<number, LinkReport>; copied: number } {
  const unique = randomBytes(6).toString('hex');
  const layersPath = join(surroundings.controlDirectory, LAYERS);
  const open = new Map<string, number>();
  try {
    const read = (name: string, offset: number, length: number): Uint8Array => {
      let fd = open.get(name);
      if (fd === undefined) {
        fd = openSync(join(directory, name), 'r');
        open.set(name, fd);
      }
      const bytes = Buffer.allocUnsafe(length);
      return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
    };
    const linked = link(image, read, {
      layersPath,
      layerName: (pid) => `${unique}-${pid}.pages`,
      shimName: SHIM,
      makesOwnCalls: goFinder(),
      mayExecute: !isNoexec(surroundings.runDirectory),
      changesMax: changesMax(),
      ...(threshold !== undefined && { threshold }),
      ...thresholdFrom(process.env),
    });
    moveLayers(directory, linked);
    const copied = adoptLayers(ownLayers(surroundings), directory, linked.inherited);
    for (const [name, bytes] of linked.files) {
      rmSync(join(directory, name), { force: true });
      writeFileSync(join(directory, name), bytes, { mode: 0o600 });
    }
    return { reports: linked.reports, copied };
  } finally {
    for (const fd of open.values()) closeSync(fd);
  }
}

/** CRIU needs descriptors for the program's files, sockets and its own beside those of the mappings. */
const DESCRIPTORS_RESERVED = 1000;

// A restore takes place under the limits that this worker has, or those of another user who starts it.
function changesMax(): number {
  const hard = Number(
    /^Max open files\s+\S+\s+(\d+)/m.exec(readText('/proc/self/limits') ?? '')?.[1] ?? 4096,
  );
  return Math.max(100, Math.min(CHANGES_MAX, hard - DESCRIPTORS_RESERVED));
}

/**
 * Gives an image that is not to be linked its own names for the layers that the program has mapped since an earlier
 * restore: what it has not changed since lies only there. Returns how many bytes had to be copied.
 * Throws ImageError and system errors.
 */
export function adoptInherited(directory: string, surroundings: Surroundings): number {
  const layersPath = join(surroundings.controlDirectory, LAYERS);
  const inherited = inheritedLayers(new ImageDirectory(openSource(directory)), layersPath);
  return adoptLayers(ownLayers(surroundings), directory, inherited);
}

/**
 * The run's links to its layers, by the path outside of the pod: link(2) refuses a source below the bind mount through
 * which the program sees them, though the file system is the same (EXDEV, fs/namei.c), and everything would be copied.
 */
function ownLayers({ runDirectory }: Pick<Surroundings, 'runDirectory'>): string {
  return join(runDirectory, 'ctl', LAYERS);
}

/** Returns the threshold that tests set: at 8 pages most of a small program stays unlinked. */
export function thresholdFrom(env: Readonly<Record<string, string | undefined>>): { threshold?: number } {
  const pages = Number(env['FORKPOINT_LINK_THRESHOLD'] ?? 'none');
  return Number.isSafeInteger(pages) && pages > 0 ? { threshold: pages } : {};
}
