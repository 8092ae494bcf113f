import {
  AREA_FILE_PRIVATE,
  encodeImage,
  ImageDirectory,
  PAGE_SIZE,
  pageRuns,
  regularFile,
} from '@forkpoint/image';
import type { ImageSource } from '@forkpoint/image';
import { factsOf } from './facts.ts';
import { linkProcess } from './link-process.ts';
import type { LinkReport } from './link-process.ts';
import { pagemapWith } from './pieces.ts';

/** Reads `length` bytes at `offset` of a file of the image. */
export type RangeReader = (name: string, offset: number, length: number) => Uint8Array;

/** How an image is linked. */
export interface LinkOptions {
  /** Where the layers are bound in the pod. */
  readonly layersPath: string;
  /** Names the layer that a process's pages become; unique among all images. */
  readonly layerName: (pid: number) => string;
  /** Shortest run that is linked, in pages; 8 when absent: measured, see bench/NOTES.md. */
  readonly threshold?: number;
  /** File name of the preload shim; a process that has not mapped it keeps its memory anonymous. */
  readonly shimName: string;
}

/** One pages file that becomes a layer. */
export interface LayerMove {
  readonly pid: number;
  /** CRIU's pages file. */
  readonly pages: string;
  /** Name of the layer. */
  readonly layer: string;
  /** What CRIU's pages file keeps: ranges of the layer, in bytes, one behind the other. */
  readonly left: readonly { readonly offset: number; readonly length: number }[];
}

/** A linked image, before anything is moved. */
export interface LinkResult {
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly moves: readonly LayerMove[];
  /** Layers of earlier images that are still mapped. */
  readonly inherited: readonly string[];
  readonly reports: ReadonlyMap<number, LinkReport>;
}

/** Shortest run that is linked, in pages. */
export const DEFAULT_THRESHOLD = 8;

/**
 * Links an image: stored private memory becomes private mappings of page files, which a restore maps instead of reading.
 * Each process gets a page file of its own: CRIU takes equal areas of parent and child on one file for copy-on-write
 * copies (criu/mem.c, check_cow_vmas). Pure: reads from `source` and `read`, and says what has to be moved. Throws ImageError.
 */
export function link(source: ImageSource, read: RangeReader, options: LinkOptions): LinkResult {
  const image = new ImageDirectory(source);
  const files = image.require('files', 'files.img');
  const moves: LayerMove[] = [];
  const reports = new Map<number, LinkReport>();
  const changed = new Map<string, Uint8Array>();
  let nextFile = files.entries.reduce((most, { message }) => Math.max(most, message.id), 0) + 1;
  for (const { message: process } of image.require('pstree', 'pstree.img').entries) {
    const memory = image.find('mm', `mm-${process.pid}.img`);
    const pagemap = image.pagemap(`pagemap-${process.pid}.img`);
    const mm = memory?.entries[0]?.message;
    if (memory === undefined || pagemap === undefined || mm === undefined) continue;
    const pages = `pages-${pagemap.head.pagesId}.img`;
    const fileId = nextFile++;
    const layer = options.layerName(process.pid);
    const runs = pageRuns(pagemap);
    const linked = linkProcess(
      mm.vmas,
      runs,
      factsOf(image, process.pid, process.threads, options.shimName),
      {
        fileId,
        threshold: options.threshold ?? DEFAULT_THRESHOLD,
        read: (offset, length) => read(pages, offset, length),
      },
    );
    reports.set(process.pid, linked.report);
    if (linked.report.linked === 0) continue;
    mm.vmas = [...linked.areas];
    files.entries.push({
      message: regularFile(fileId, `${options.layersPath}/${layer}`, 0o100000),
      payload: new Uint8Array(0),
    });
    pagemap.entries = pagemapWith(runs, linked.left);
    changed.set(memory.name, encodeImage(memory));
    changed.set(pagemap.name, encodeImage(pagemap));
    moves.push({
      pid: process.pid,
      pages,
      layer,
      left: linked.left.map((run) => ({ offset: run.offset, length: run.pages * PAGE_SIZE })),
    });
  }
  if (moves.length > 0) changed.set(files.name, encodeImage(files));
  const own = new Set(moves.map(({ layer }) => layer));
  const inherited = inheritedLayers(image, options.layersPath).filter((layer) => !own.has(layer));
  return { files: changed, moves, inherited, reports };
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
