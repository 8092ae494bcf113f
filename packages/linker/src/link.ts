import { AREA_FILE_PRIVATE, encodeImage, ImageDirectory, PAGE_SIZE, regularFile } from '@forkpoint/image';
import type { ImageSource, MessageFile, vma_entry } from '@forkpoint/image';
import { bytesOf, mappedRanges, moveOffsets } from './compact.ts';
import type { Range } from './compact.ts';
import { earlierLayers, factsOf, noteOf } from './facts.ts';
import type { LinkSurroundings } from './facts.ts';
import { linkProcess } from './link-process.ts';
import type { LinkedMemory, LinkReport } from './link-process.ts';
import { notePatch } from './note.ts';
import type { Patch } from './note.ts';
import { pagemapWith } from './pieces.ts';
import { reasonAgainst } from './policy.ts';
import type { ProcessFacts } from './policy.ts';
import type { ParentMemory } from './share.ts';

/** Reads `length` bytes at `offset` of a file of the image. */
export type RangeReader = (name: string, offset: number, length: number) => Uint8Array;

/** How an image is linked. */
export interface LinkOptions extends LinkSurroundings {
  /** Names the layer that a process's pages become; unique among all images. */
  readonly layerName: (pid: number) => string;
  /** Shortest run that is linked, in pages; 8 when absent: measured, see bench/NOTES.md. */
  readonly threshold?: number;
  /** Changes of mapped file in address order that a restore bears. */
  readonly changesMax?: number;
}

/** One pages file that becomes a layer. */
export interface LayerMove {
  readonly pid: number;
  /** CRIU's pages file. */
  readonly pages: string;
  /** Name of the layer. */
  readonly layer: string;
  /** What the layer holds of the pages file, one behind the other; null when it is the whole file, renamed. */
  readonly holds: readonly Range[] | null;
  /** What CRIU's pages file keeps of itself, one behind the other. */
  readonly left: readonly Range[];
}

/** Bytes that are written to a pages file. */
export interface PagesPatch extends Patch {
  readonly pages: string;
}

/** A linked image, before anything is moved. */
export interface LinkResult {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly moves: readonly LayerMove[];
  /** What is written to CRIU's pages files before they are moved: the shims are told what is linked. */
  readonly patches: readonly PagesPatch[];
  /** Layers of earlier images that are still mapped. */
  readonly inherited: readonly string[];
  readonly reports: ReadonlyMap<number, LinkReport>;
}

/** One process under way. */
interface Linked {
  readonly pid: number;
  readonly fileId: number;
  readonly pages: string;
  readonly memory: MessageFile<'mm'>;
  readonly areas: readonly vma_entry[];
  readonly result: LinkedMemory;
}

/**
 * Smallest share of a process's pages for which it is linked. The rest is copied to a pages file of its own beside the page
 * file: where hardly anything can be linked, as in a program of Go, that would be nearly all, for nothing.
 */
const LINKED_MIN = 1 / 8;

/** Shortest run that is linked, in pages. */
export const DEFAULT_THRESHOLD = 8;

/**
 * Links an image: stored private memory becomes private mappings of page files, which a restore maps instead of reading.
 * Each process gets a page file of its own: CRIU takes equal areas of parent and child on one file for copy-on-write
 * copies (criu/mem.c, check_cow_vmas). For what really is equal at the same address that is right, and such pages are
 * mapped from the parent's. Pure: reads from `source` and `read`, and says what has to be moved; the values of an ImageDirectory
 * change with the bytes of its files. Throws ImageError.
 */
export function link(
  source: ImageSource | ImageDirectory,
  read: RangeReader,
  options: LinkOptions,
): LinkResult {
  const image = source instanceof ImageDirectory ? source : new ImageDirectory(source);
  const files = image.require('files', 'files.img');
  const reports = new Map<number, LinkReport>();
  const changed = new Map<string, Uint8Array>();
  const family = new Family(read);
  const linked: Linked[] = [];
  const patches: PagesPatch[] = [];
  let nextFile = files.entries.reduce((most, { message }) => Math.max(most, message.id), 0) + 1;
  for (const { message: process } of image.require('pstree', 'pstree.img').entries) {
    const memory = image.find('mm', `mm-${process.pid}.img`);
    const name = `pagemap-${process.pid}.img`;
    const pagemap = image.pagemapRuns(name);
    const mm = memory?.entries[0]?.message;
    if (memory === undefined || pagemap === undefined || mm === undefined) continue;
    const { head, runs } = pagemap;
    const pages = `pages-${head.pagesId}.img`;
    const fileId = nextFile++;
    const parent = family.memoryOf(process.ppid);
    const readPages = (offset: number, length: number): Uint8Array => read(pages, offset, length);
    const note = noteOf(image, mm.vmas, runs, options.shimName, readPages);
    const known = factsOf(image, process.pid, process.threads, options);
    const facts = { ...known, hasShim: known.hasShim && note !== null };
    const layers = earlierLayers(image, mm.vmas, options.layersPath);
    if (note !== null) patches.push({ pages, ...notePatch(note, watchedAreas(mm.vmas, facts, layers)) });
    const result = linkProcess(mm.vmas, runs, facts, {
      fileId,
      note,
      threshold: options.threshold ?? DEFAULT_THRESHOLD,
      read: readPages,
      ...(parent && { parent }),
      ...(options.changesMax !== undefined && { changesMax: options.changesMax }),
    });
    reports.set(process.pid, result.report);
    if (result.report.linked === 0 || result.report.linked < result.report.pages * LINKED_MIN) continue;
    family.add(process.pid, fileId, pages, result);
    mm.vmas = [...result.areas];
    const entries = pagemapWith(runs, result.left);
    changed.set(name, encodeImage({ kind: 'pagemap', name, head, entries }));
    linked.push({ pid: process.pid, fileId, pages, memory, areas: mm.vmas, result });
  }
  const moves = linked.flatMap((one) => moveOf(one, linked, options));
  for (const { fileId, layer } of moves) {
    const entry = regularFile(fileId, `${options.layersPath}/${layer}`, 0o100000);
    files.entries.push({ message: entry, payload: new Uint8Array(0) });
  }
  for (const { memory } of linked) changed.set(memory.name, encodeImage(memory));
  if (moves.length > 0) changed.set(files.name, encodeImage(files));
  const own = new Set(moves.map(({ layer }) => layer));
  const inherited = inheritedLayers(image, options.layersPath).filter((layer) => !own.has(layer));
  return { files: changed, moves, patches, inherited, reports };
}

/** What may be linked now or when the image is flattened, and what is linked already, whatever became of it since. */
function watchedAreas(
  areas: readonly vma_entry[],
  facts: ProcessFacts,
  layers: ReadonlySet<number>,
): vma_entry[] {
  const isLayer = ({ status, shmid }: vma_entry): boolean =>
    (status & AREA_FILE_PRIVATE) !== 0 && layers.has(Number(shmid));
  return areas.filter((area) => isLayer(area) || reasonAgainst(area, facts) === null);
}

/**
 * What becomes of one process's pages file: all of it the layer, as a rule. Where most of it is mapped from the parent's
 * layer the rest is copied, so that layers do not hold pages that nobody maps; no layer when all is the parent's.
 */
function moveOf(
  { pid, fileId, pages, result }: Linked,
  linked: readonly Linked[],
  options: LinkOptions,
): (LayerMove & { fileId: number })[] {
  // Children may map pages of it, too.
  const areas = linked.flatMap((one) => one.areas);
  const ranges = mappedRanges(areas, fileId);
  const left = result.left.map((run) => ({ offset: run.offset, length: run.pages * PAGE_SIZE }));
  const isMostlyUnused = bytesOf(ranges) * 2 <= result.report.pages * PAGE_SIZE && result.report.shared > 0;
  if (isMostlyUnused) moveOffsets(areas, fileId, ranges);
  return [{ pid, fileId, pages, layer: options.layerName(pid), holds: isMostlyUnused ? ranges : null, left }];
}

/** What the processes of one image map, for their children. */
class Family {
  readonly #read: RangeReader;
  readonly #memories = new Map<number, ParentMemory>();
  readonly #files = new Map<number, string>();

  constructor(read: RangeReader) {
    this.#read = read;
  }

  add(pid: number, fileId: number, pages: string, { mapped }: LinkedMemory): void {
    this.#files.set(fileId, pages);
    this.#memories.set(pid, {
      mapped,
      read: (file, offset, length) => this.#read(this.#files.get(file) ?? '', offset, length),
    });
  }

  memoryOf(pid: number): ParentMemory | undefined {
    return this.#memories.get(pid);
  }
}

/** Returns the names of the layers that the image's areas map and that lie in the layers' directory. */
export function inheritedLayers(image: ImageDirectory, layersPath: string): string[] {
  const mapped = new Set<number>();
  for (const file of image.all('mm')) {
    for (const { message } of file.entries) {
      for (const area of message.vmas)
        if ((area.status & AREA_FILE_PRIVATE) !== 0) mapped.add(Number(area.shmid));
    }
  }
  const prefix = `${layersPath}/`;
  return image
    .entries('files', 'files.img')
    .filter(({ message }) => mapped.has(message.id) && message.reg?.name.startsWith(prefix) === true)
    .map(({ message }) => message.reg?.name.slice(prefix.length) ?? '');
}
