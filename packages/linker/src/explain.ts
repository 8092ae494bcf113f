import { AREA_FILE_PRIVATE, AREA_VSYSCALL, PAGE_SIZE, PROT_EXEC } from '@forkpoint/image';
import type { ImageDirectory, PageRun, vma_entry } from '@forkpoint/image';
import { chunkHeaders } from './chunks.ts';
import type { PagesReader, Run } from './chunks.ts';
import { factsOf } from './facts.ts';
import type { LinkSurroundings } from './facts.ts';
import { DEFAULT_THRESHOLD } from './link.ts';
import type { KeptFor } from './link-process.ts';
import { limitsOf } from './link-process.ts';
import { runsWithin } from './pieces.ts';
import { reasonAgainst, RULES } from './policy.ts';

/** Whether and why an area of an image is linked or not. */
export interface AreaLinking {
  /** Address of its first byte. */
  readonly start: number;
  readonly isLinked: boolean;
  /** Bytes that CRIU's pages file holds of it. */
  readonly savedBytes: number;
  /** Why it holds them; null when it holds none. */
  readonly kept: KeptFor | 'unlinked' | null;
}

const OTHER_REASONS: Readonly<
  Record<Exclude<KeptFor | 'unlinked', (typeof RULES)[number]['reason']>, string>
> = {
  short: 'fewer pages in a row than are worth a mapping',
  chunk:
    'the header of a chunk of malloc: the chunk is then copied when it grows, and not grown into the page file',
  changed: 'written since the earlier checkpoint, or in a child: copies over the mapping',
  note: "the shim's own note of what is linked, which every image writes anew",
  unlinked: 'the image was taken with --no-link, or hardly anything of this process could be linked',
};

/** Returns why memory is kept as a copy, in a sentence. */
export function textOf(reason: KeptFor | 'unlinked'): string {
  return reason in OTHER_REASONS
    ? OTHER_REASONS[reason as keyof typeof OTHER_REASONS]
    : (RULES.find((rule) => rule.reason === reason)?.hazard ?? '');
}

/**
 * Returns for each area of a process but the vsyscall page whether it is linked, and why not. `read` reads its pages file:
 * only the first bytes of runs. Throws ImageError.
 */
export function explainAreas(
  image: ImageDirectory,
  process: { readonly pid: number; readonly threads: readonly number[] },
  memory: { readonly runs: readonly PageRun[]; readonly read: PagesReader },
  surroundings: Omit<LinkSurroundings, 'mayExecute'>,
): AreaLinking[] {
  const areas = image.entries('mm', `mm-${process.pid}.img`)[0]?.message.vmas ?? [];
  // Where the image was taken code could be linked, or could not: the areas tell.
  const facts = factsOf(image, process.pid, process.threads, { ...surroundings, mayExecute: true });
  const layers = layerIds(image, surroundings.layersPath);
  const hasLayers = areas.some((area) => isOn(area, layers));
  const limits = limitsOf(areas);
  let next = 0;
  return areas.flatMap((area, i) => {
    if ((area.status & AREA_VSYSCALL) !== 0) return [];
    const reason = reasonAgainst(area, facts);
    // Guards lie over other areas, and have no pages.
    const found = reason === 'guard' ? { inside: [], next } : runsWithin(memory.runs, area, next);
    next = found.next;
    const savedBytes = found.inside.reduce((sum, { pages }) => sum + pages * PAGE_SIZE, 0);
    const isLinked = isOn(area, layers);
    const why = (): KeptFor | 'unlinked' => {
      if (isLinked) return 'changed';
      const short = reason ?? whyShort(found.inside, limits[i] ?? 0, memory.read);
      const isCode = short === 'unlinked' && hasLayers && (area.prot & PROT_EXEC) !== 0;
      return isCode ? 'executable' : short;
    };
    return [{ start: Number(area.start), isLinked, savedBytes, kept: savedBytes === 0 ? null : why() }];
  });
}

function whyShort(runs: readonly Run[], limit: number, read: PagesReader): KeptFor | 'unlinked' {
  if (runs.some(({ pages }) => pages >= DEFAULT_THRESHOLD)) return 'unlinked';
  return chunkHeaders([{ runs, limit }], read).size > 0 ? 'chunk' : 'short';
}

function layerIds(image: ImageDirectory, layersPath: string): Set<number> {
  return new Set(
    image
      .entries('files', 'files.img')
      .filter(({ message }) => message.reg?.name.startsWith(`${layersPath}/`) === true)
      .map(({ message }) => message.id),
  );
}

function isOn({ status, shmid }: vma_entry, files: ReadonlySet<number>): boolean {
  return (status & AREA_FILE_PRIVATE) !== 0 && files.has(Number(shmid));
}
