import {
  AREA_FILE_PRIVATE,
  encodeImage,
  ImageDirectory,
  pageRuns,
  PROT_EXEC,
  regularFile,
} from '@forkpoint/image';
import type { ImageSource, MessageFile, vma_entry } from '@forkpoint/image';
import { factsOf, noteOf } from './facts.ts';
import { flattenProcess } from './flatten-process.ts';
import type { FlatMemory, MappedSegment } from './flatten-process.ts';
import { DEFAULT_THRESHOLD } from './link.ts';
import type { LinkOptions, RangeReader } from './link.ts';
import type { LinkReport } from './link-process.ts';
import { LAYERS } from './move.ts';
import { pagemapWith } from './pieces.ts';
import type { Extent } from './segments.ts';

/** A file that an image on fewer page files consists of, and where its bytes lie in the old image. */
export interface Assembly {
  /** Name within the image. */
  readonly file: string;
  readonly extents: readonly Extent[];
  /** Bytes. */
  readonly size: number;
}

/** A flattened image, before anything is written. */
export interface FlattenPlan {
  /** Image files that change. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  /** New page files and new pages files of CRIU. */
  readonly assemblies: readonly Assembly[];
  /** Layers that are mapped no more. */
  readonly unused: readonly string[];
  /** Whether code is mapped from page files, which a directory that is mounted noexec refuses. */
  readonly mapsCode: boolean;
  readonly before: Fragmentation;
  readonly after: Fragmentation;
  readonly reports: ReadonlyMap<number, LinkReport>;
}

/** How much a restore has to do for an image's memory. */
export interface Fragmentation {
  /** Mappings of page files: CRIU makes each of them. */
  readonly mappings: number;
  /** Pages that CRIU copies. */
  readonly copiedPages: number;
  /** Bytes of page files. */
  readonly layerBytes: number;
}

/**
 * Plans how each process's memory moves to one page file of its own, in the order of its addresses. Reads image files and
 * single pages and writes nothing. `layerSize` gives the bytes of a layer. Throws ImageError.
 */
export function planFlattening(
  source: ImageSource,
  read: RangeReader,
  layerSize: (layer: string) => number,
  options: LinkOptions,
): FlattenPlan {
  const image = new ImageDirectory(source);
  const files = image.require('files', 'files.img');
  const layers = layersIn(files, options.layersPath);
  const before = fragmentationOf(image, layers, layerSize);
  const changed = new Map<string, Uint8Array>();
  const assemblies: Assembly[] = [];
  const reports = new Map<number, LinkReport>();
  const mappedBy = new Map<number, readonly MappedSegment[]>();
  const fresh = new Map<number, string>();
  let nextFile = files.entries.reduce((most, { message }) => Math.max(most, message.id), 0) + 1;
  for (const { message: process } of image.require('pstree', 'pstree.img').entries) {
    const fileId = nextFile++;
    const parent = mappedBy.get(process.ppid) ?? [];
    const flat = flattenOne(image, process, { fileId, parent, layers, layerSize, read, options });
    if (flat === undefined) continue;
    mappedBy.set(process.pid, flat.memory.mapped);
    reports.set(process.pid, flat.memory.report);
    for (const [name, bytes] of flat.files) changed.set(name, bytes);
    assemblies.push(assemblyOf(flat.pages, flat.memory.leftExtents));
    if (flat.memory.extents.length === 0) continue;
    const layer = options.layerName(process.pid);
    fresh.set(fileId, layer);
    assemblies.push(assemblyOf(`${LAYERS}/${layer}`, flat.memory.extents));
  }
  const unused = exchangeFiles(image, files, { layers, fresh, layersPath: options.layersPath });
  changed.set(files.name, encodeImage(files));
  const sizes = new Map(assemblies.map(({ file, size }) => [file, size]));
  const now = layersIn(files, options.layersPath);
  const after = fragmentationOf(image, now, (layer) => sizes.get(`${LAYERS}/${layer}`) ?? layerSize(layer));
  return { files: changed, assemblies, unused, mapsCode: mapsCode(image, now), before, after, reports };
}

/** Flattens one process, whose files change in `image`; undefined when it has no memory, as a zombie. */
function flattenOne(
  image: ImageDirectory,
  process: { readonly pid: number; readonly threads: readonly number[] },
  given: {
    readonly fileId: number;
    readonly parent: readonly MappedSegment[];
    readonly layers: ReadonlyMap<number, string>;
    readonly layerSize: (layer: string) => number;
    readonly read: RangeReader;
    readonly options: LinkOptions;
  },
): { pages: string; memory: FlatMemory; files: readonly (readonly [string, Uint8Array])[] } | undefined {
  const { layers, layerSize, options } = given;
  const memory = image.find('mm', `mm-${process.pid}.img`);
  const pagemap = image.pagemap(`pagemap-${process.pid}.img`);
  const mm = memory?.entries[0]?.message;
  if (memory === undefined || pagemap === undefined || mm === undefined) return undefined;
  const pages = `pages-${pagemap.head.pagesId}.img`;
  const runs = pageRuns(pagemap);
  const layerOf = (id: number): { name: string; size: number } | undefined => {
    const name = layers.get(id);
    return name === undefined ? undefined : { name: `${LAYERS}/${name}`, size: layerSize(name) };
  };
  const known = factsOf(image, process.pid, process.threads, options);
  const note = noteOf(image, mm.vmas, runs, options.shimName, (offset, length) =>
    given.read(pages, offset, length),
  );
  // The shim of the image was told where to look when the image was taken.
  const facts = { ...known, hasShim: known.hasShim && note !== null, watched: note?.watched ?? [] };
  const flat = flattenProcess(
    { areas: mm.vmas, runs, pages, layerOf, facts },
    {
      fileId: given.fileId,
      threshold: options.threshold ?? DEFAULT_THRESHOLD,
      read: (extents) => readExtents(given.read, extents),
      parent: given.parent,
      note,
    },
  );
  mm.vmas = [...flat.areas];
  pagemap.entries = pagemapWith(runs, flat.left);
  const files = [memory, pagemap].map((file) => [file.name, encodeImage(file)] as const);
  return { pages, memory: flat, files };
}

/** Returns how much a restore of an image has to do for its memory. Throws ImageError. */
export function measureFragmentation(
  source: ImageSource,
  layersPath: string,
  layerSize: (layer: string) => number,
): Fragmentation {
  const image = new ImageDirectory(source);
  return fragmentationOf(image, layersIn(image.require('files', 'files.img'), layersPath), layerSize);
}

/** The layers by the id of their entry in files.img. */
function layersIn(files: MessageFile<'files'>, layersPath: string): Map<number, string> {
  const prefix = `${layersPath}/`;
  return new Map(
    files.entries.flatMap(({ message: { id, reg } }) =>
      reg?.name.startsWith(prefix) === true ? [[id, reg.name.slice(prefix.length)] as const] : [],
    ),
  );
}

function fragmentationOf(
  image: ImageDirectory,
  layers: ReadonlyMap<number, string>,
  layerSize: (layer: string) => number,
): Fragmentation {
  let mappings = 0;
  let copiedPages = 0;
  const used = new Set<string>();
  for (const { message: process } of image.require('pstree', 'pstree.img').entries) {
    for (const area of image.entries('mm', `mm-${process.pid}.img`)[0]?.message.vmas ?? []) {
      const layer = (area.status & AREA_FILE_PRIVATE) === 0 ? undefined : layers.get(Number(area.shmid));
      if (layer === undefined) continue;
      mappings++;
      used.add(layer);
    }
    const pagemap = image.pagemap(`pagemap-${process.pid}.img`);
    for (const run of pagemap === undefined ? [] : pageRuns(pagemap))
      if (run.firstPage !== undefined) copiedPages += run.pageCount;
  }
  const layerBytes = [...used].reduce((sum, layer) => sum + layerSize(layer), 0);
  return { mappings, copiedPages, layerBytes };
}

/** Adds the new page files to files.img and takes out those that nothing maps or has open any more; returns the latter. */
function exchangeFiles(
  image: ImageDirectory,
  files: MessageFile<'files'>,
  {
    layers,
    fresh,
    layersPath,
  }: { layers: ReadonlyMap<number, string>; fresh: ReadonlyMap<number, string>; layersPath: string },
): string[] {
  const needed = new Set<number>();
  for (const file of image.all('mm'))
    for (const { message } of file.entries)
      for (const area of message.vmas)
        if ((area.status & AREA_FILE_PRIVATE) !== 0) needed.add(Number(area.shmid));
  for (const file of image.all('fdinfo')) for (const { message } of file.entries) needed.add(message.id);
  files.entries = files.entries.filter(({ message }) => needed.has(message.id) || !layers.has(message.id));
  for (const [id, layer] of fresh) {
    files.entries.push({
      message: regularFile(id, `${layersPath}/${layer}`, 0o100000),
      payload: new Uint8Array(0),
    });
  }
  const kept = new Set([...layers].flatMap(([id, layer]) => (needed.has(id) ? [layer] : [])));
  return [...new Set(layers.values())].filter((layer) => !kept.has(layer));
}

function mapsCode(image: ImageDirectory, layers: ReadonlyMap<number, string>): boolean {
  const isCode = ({ status, prot, shmid }: vma_entry): boolean =>
    (status & AREA_FILE_PRIVATE) !== 0 && (prot & PROT_EXEC) !== 0 && layers.has(Number(shmid));
  return image.all('mm').some(({ entries }) => entries.some(({ message }) => message.vmas.some(isCode)));
}

function assemblyOf(file: string, extents: readonly Extent[]): Assembly {
  return { file, extents, size: extents.reduce((sum, { length }) => sum + length, 0) };
}

function readExtents(read: RangeReader, extents: readonly Extent[]): Uint8Array {
  const [first, ...others] = extents;
  if (first === undefined) return new Uint8Array(0);
  const bytes = read(first.file, first.offset, first.length);
  return others.length === 0
    ? bytes
    : Buffer.concat([bytes, ...others.map(({ file, offset, length }) => read(file, offset, length))]);
}
