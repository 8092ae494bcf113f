import { readManifest } from './images.ts';
import { openContents } from './contents.ts';
import type { OpenContents } from './contents.ts';
import { changedPages, regionsOf } from './memory.ts';
import type { ProcessMemory, Region } from './memory.ts';
import type { Watch } from './packing.ts';

/** A list that is compared: what only one of the two has. */
export interface Difference<T> {
  readonly added: readonly T[];
  readonly removed: readonly T[];
}

/** A descriptor as a comparison tells it. */
export interface ComparedDescriptor {
  readonly pid: number;
  readonly fd: number;
  readonly kind: string;
  readonly what: string;
}

/** A region of memory that both images have, or only one. Addresses are hexadecimal. */
export interface ComparedRegion {
  readonly pid: number;
  readonly start: string;
  readonly end: string;
  readonly kind: string;
  readonly access: string;
  readonly path: string | null;
  readonly state: 'changed' | 'added' | 'removed';
  readonly pages: number;
  /** Pages with other bytes; of a region that only one image has, those that are stored. */
  readonly changedPages: number;
}

/** What lies between two images. */
export interface ImageDiff {
  readonly a: { readonly path: string; readonly id: string; readonly generation: number };
  readonly b: { readonly path: string; readonly id: string; readonly generation: number };
  readonly processes: Difference<number>;
  readonly descriptors: Difference<ComparedDescriptor>;
  /** Regions that differ, in order of process and address. */
  readonly regions: readonly ComparedRegion[];
  /** Names of environment variables of the first process. */
  readonly environment: Difference<string>;
  readonly pages: { readonly compared: number; readonly changed: number };
}

const PAGE = 4096;
/** What is compared at a time: some 10 ms. */
const STEP = 16 << 20;

/** How a comparison is watched and ended. */
export interface DiffOptions extends Watch {
  /** Where the unpacked files of a compressed image are; the image itself by default. */
  readonly rawOf?: (image: string) => string;
  /** Called with the bytes that are going to be compared. */
  readonly onTotal?: (bytes: number) => void;
}

/** Compares two images. Throws the reason of the signal, the errors of readManifest and of the image package. */
export async function diffImages(a: string, b: string, options: DiffOptions = {}): Promise<ImageDiff> {
  const rawOf = options.rawOf ?? ((image) => image);
  const [manifestA, manifestB] = [await readManifest(a), await readManifest(b)];
  const one = await openContents(rawOf(a), manifestA.processes[0]?.pid ?? 0);
  const other = await openContents(rawOf(b), manifestB.processes[0]?.pid ?? 0);
  try {
    const regions: ComparedRegion[] = [];
    let compared = 0;
    options.onTotal?.(bytesOf(one));
    for (const pid of pidsOf(one, other)) {
      const found = await compareProcess(one, other, pid, options);
      regions.push(...found.regions);
      compared += found.compared;
    }
    return {
      a: { path: a, id: manifestA.id, generation: manifestA.generation },
      b: { path: b, id: manifestB.id, generation: manifestB.generation },
      processes: difference([...one.memories.keys()], [...other.memories.keys()], String),
      descriptors: difference(
        comparable(one.contents.descriptors),
        comparable(other.contents.descriptors),
        ({ pid, fd, kind, what }) => `${pid} ${fd} ${kind} ${what}`,
      ),
      regions,
      environment: difference(one.contents.environment, other.contents.environment, String),
      pages: { compared, changed: regions.reduce((sum, region) => sum + region.changedPages, 0) },
    };
  } finally {
    one.close();
    other.close();
  }
}

/** Pipes have other numbers in every restore, and watches come in any order: neither is a difference. */
function comparable(descriptors: readonly ComparedDescriptor[]): ComparedDescriptor[] {
  const pipes = new Map<string, number>();
  return descriptors.map((item) => {
    const pipe = /^pipe \d+$/.exec(item.what)?.[0];
    if (pipe !== undefined) {
      if (!pipes.has(pipe)) pipes.set(pipe, pipes.size + 1);
      return { ...item, what: `pipe ${pipes.get(pipe)}` };
    }
    const watched = /^watches (.+)$/.exec(item.what)?.[1]?.split(' ').map(Number);
    return watched === undefined
      ? item
      : { ...item, what: `watches ${watched.sort((x, y) => x - y).join(' ')}` };
  });
}

function pidsOf(a: OpenContents, b: OpenContents): number[] {
  return [...new Set([...a.memories.keys(), ...b.memories.keys()])].sort((x, y) => x - y);
}

/** Bytes of the regions of all processes. */
function bytesOf({ memories }: OpenContents): number {
  return [...memories.values()]
    .flatMap(({ process }) => regionsOf(process))
    .reduce((sum, { start, end }) => sum + end - start, 0);
}

/** Counts the pages of a range that differ; signals and timers have their turn between two steps. */
async function countChanged(
  one: ProcessMemory,
  other: ProcessMemory,
  range: { readonly start: number; readonly end: number },
  watch: Watch,
): Promise<number> {
  let changed = 0;
  for (let at = range.start; at < range.end; at += STEP) {
    watch.signal?.throwIfAborted();
    const end = Math.min(at + STEP, range.end);
    changed += changedPages(one, other, at, end);
    watch.onBytes?.(end - at);
    await new Promise<void>((resolve) => setImmediate(resolve));
  }
  return changed;
}

async function compareProcess(
  a: OpenContents,
  b: OpenContents,
  pid: number,
  watch: Watch,
): Promise<{ regions: ComparedRegion[]; compared: number }> {
  const [one, other] = [a.memories.get(pid), b.memories.get(pid)];
  const [regionsA, regionsB] = [one, other].map((memory) =>
    memory === undefined ? [] : regionsOf(memory.process),
  ) as [Region[], Region[]];
  const regions: ComparedRegion[] = [];
  let compared = 0;
  const startsB = new Map(regionsB.map((region) => [region.start, region]));
  const matched = new Set<number>();
  const told = (region: Region, state: ComparedRegion['state'], changed: number): ComparedRegion => ({
    pid,
    start: region.start.toString(16),
    end: region.end.toString(16),
    kind: region.kind,
    access: region.access,
    path: region.path,
    state,
    pages: (region.end - region.start) / PAGE,
    changedPages: changed,
  });
  for (const region of regionsA) {
    const match = startsB.get(region.start);
    const isSame = match !== undefined && match.kind === region.kind && match.path === region.path;
    if (!isSame || one === undefined || other === undefined) {
      regions.push(told(region, 'removed', 0));
      continue;
    }
    matched.add(region.start);
    const end = Math.max(region.end, match.end);
    const changed = await countChanged(one, other, { start: region.start, end }, watch);
    compared += (end - region.start) / PAGE;
    if (changed > 0 || region.end !== match.end || region.access !== match.access)
      regions.push(told({ ...match, end }, 'changed', changed));
  }
  for (const region of regionsB.filter(({ start }) => !matched.has(start)))
    regions.push(told(region, 'added', 0));
  regions.sort((x, y) => Number.parseInt(x.start, 16) - Number.parseInt(y.start, 16));
  return { regions, compared };
}

function difference<T>(a: readonly T[], b: readonly T[], key: (item: T) => string): Difference<T> {
  const [inA, inB] = [new Set(a.map(key)), new Set(b.map(key))];
  return {
    added: b.filter((item) => !inA.has(key(item))),
    removed: a.filter((item) => !inB.has(key(item))),
  };
}
