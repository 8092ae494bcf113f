import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DescriptorSummary } from '@forkpoint/image';
import { layerOf } from './memory.ts';
import type { FileReader, ProcessMemory } from './memory.ts';

/** A memory area as `inspect --json` tells it; addresses are hexadecimal. */
export interface Area {
  readonly pid: number;
  readonly start: string;
  readonly end: string;
  readonly kind: string;
  /** As in /proc/PID/maps, such as `rw-`. */
  readonly access: string;
  readonly path: string | null;
}

/** Areas of one kind, over all processes. */
export interface AreaGroup {
  readonly kind: string;
  readonly count: number;
  readonly bytes: number;
}

/** A descriptor as `inspect` tells it. */
export interface Descriptor {
  readonly pid: number;
  readonly fd: number;
  readonly kind: string;
  /** Path, address or other name. */
  readonly what: string;
}

/** What lies in the engine's files of an image. */
export interface ImageContents {
  readonly areas: readonly Area[];
  readonly groups: readonly AreaGroup[];
  readonly descriptors: readonly Descriptor[];
  /** Names of the root process's environment variables. */
  readonly environment: readonly string[];
  /** Bytes of memory that were saved, by pid. */
  readonly savedBytes: ReadonlyMap<number, number>;
}

/** Contents that stay open, with the memory of each process by pid. */
export interface OpenContents {
  readonly contents: ImageContents;
  readonly memories: ReadonlyMap<number, ProcessMemory>;
  close(): void;
}

/** Largest file, pages apart, that is read whole: 256 MiB. */
const FILE_MAX = 256 << 20;

/** Reads what the engine's files of an image hold; `root` is the pid of the program's first process. Throws the image package's errors. */
export async function readContents(image: string, root: number): Promise<ImageContents> {
  const opened = await openContents(image, root);
  opened.close();
  return opened.contents;
}

/** Opens an image directory that is not compressed; the caller closes it. Throws the image package's errors, and system errors. */
export async function openContents(image: string, root: number): Promise<OpenContents> {
  // Loaded only here: the codec is the largest part of the bundle, and few commands need it.
  const { environmentNames, ImageDirectory, pageRuns, summarize } = await import('@forkpoint/image');
  const source = new ImageDirectory({
    names: readdirSync(image).filter((name) => name.endsWith('.img')),
    read: (name) => {
      if (statSync(join(image, name)).size > FILE_MAX) throw new RangeError(`${name} is too large`);
      return readFileSync(join(image, name));
    },
    size: (name) => statSync(join(image, name)).size,
  });
  const { processes } = summarize(source);
  const files = openFiles(image);
  const memories = new Map<number, ProcessMemory>();
  for (const process of processes) {
    const pagemap = source.pagemap(`pagemap-${process.pid}.img`);
    if (pagemap === undefined) continue;
    const pages = `pages-${pagemap.head.pagesId}.img`;
    memories.set(process.pid, { process, runs: pageRuns(pagemap), pages, read: files.read });
  }
  try {
    return {
      contents: {
        ...areasIn(processes),
        descriptors: processes.flatMap(({ pid, descriptors }) =>
          descriptors.map((item) => ({ pid, fd: item.fd, kind: item.kind, what: describe(item) })),
        ),
        environment: environmentNames(source, root, files.read),
        savedBytes: new Map(processes.map(({ pid, dumped }) => [pid, dumped.bytes])),
      },
      memories,
      close: () => files.close(),
    };
  } catch (error) {
    files.close();
    throw error;
  }
}

function areasIn(processes: readonly ProcessMemory['process'][]): Pick<ImageContents, 'areas' | 'groups'> {
  const groups = new Map<string, AreaGroup>();
  const areas: Area[] = [];
  for (const { pid, areas: own } of processes) {
    for (const { start, end, kind, prot, path } of own) {
      areas.push({
        pid,
        start: start.toString(16),
        end: end.toString(16),
        kind: layerOf(path) === undefined ? kind : 'linked',
        access: accessText(prot),
        path: path ?? null,
      });
    }
  }
  for (const { kind, start, end } of areas) {
    const bytes = Number.parseInt(end, 16) - Number.parseInt(start, 16);
    const group = groups.get(kind);
    groups.set(kind, { kind, count: (group?.count ?? 0) + 1, bytes: (group?.bytes ?? 0) + bytes });
  }
  return { areas, groups: [...groups.values()].sort((a, b) => b.bytes - a.bytes) };
}

function describe(item: DescriptorSummary): string {
  if (item.path !== undefined) return item.path;
  if (item.address !== undefined) {
    const local = `${item.address}:${item.port ?? 0}`;
    return item.peer === undefined ? local : `${local} to ${item.peer}`;
  }
  if (item.pipe !== undefined) return `pipe ${item.pipe}`;
  return item.watches === undefined ? '-' : `watches ${item.watches.join(' ')}`;
}

function accessText(prot: number): string {
  return `${prot & 1 ? 'r' : '-'}${prot & 2 ? 'w' : '-'}${prot & 4 ? 'x' : '-'}`;
}

/** Keeps each file open that was read from, so that many small reads cost one open. */
function openFiles(directory: string): { read: FileReader; close(): void } {
  const descriptors = new Map<string, number>();
  return {
    read: (name, offset, length) => {
      let descriptor = descriptors.get(name);
      if (descriptor === undefined) {
        descriptor = openSync(join(directory, name), 'r');
        descriptors.set(name, descriptor);
      }
      const bytes = Buffer.alloc(length);
      return bytes.subarray(0, readSync(descriptor, bytes, 0, length, offset));
    },
    close: () => {
      for (const descriptor of descriptors.values()) closeSync(descriptor);
      descriptors.clear();
    },
  };
}
