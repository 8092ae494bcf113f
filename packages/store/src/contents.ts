import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import type { DescriptorSummary } from '@forkpoint/image';
import type { AreaLinking, KeptFor, PagesReader } from '@forkpoint/linker';
import { StoreError } from './error.ts';
import { goFinder } from './go.ts';
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
  /** Whether a restore maps it from a page file instead of reading it. */
  readonly linked: boolean;
  /** Bytes of it that a restore reads. */
  readonly savedBytes: number;
  /** Why it is read and not mapped, by a word of the linker's policy; null when nothing of it is read. */
  readonly kept: string | null;
}

/** Memory that is read at a restore for one reason, over all processes. */
export interface KeptGroup {
  readonly reason: string;
  readonly areas: number;
  readonly bytes: number;
  /** The reason in a sentence. */
  readonly text: string;
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
  readonly kept: readonly KeptGroup[];
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

type Explain = (process: ProcessMemory['process']) => readonly AreaLinking[];

/** File name of the preload shim. */
const SHIM = 'shim.so';

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
  const { explainAreas, textOf } = await import('@forkpoint/linker');
  const source = new ImageDirectory({
    names: readdirSync(image).filter((name) => name.endsWith('.img')),
    read: (name) => {
      const facts = statSync(join(image, name));
      if (!facts.isFile() || facts.size > FILE_MAX)
        throw new StoreError('ERR_FORKPOINT_IMAGE_INVALID', `the image's file ${name} cannot be read`);
      return readFileSync(join(image, name));
    },
    size: (name) => statSync(join(image, name)).size,
  });
  const { processes } = summarize(source);
  const files = openFiles(image);
  const makesOwnCalls = goFinder();
  const memories = new Map<number, ProcessMemory>();
  for (const process of processes) {
    const pagemap = source.pagemap(`pagemap-${process.pid}.img`);
    if (pagemap === undefined) continue;
    const pages = `pages-${pagemap.head.pagesId}.img`;
    memories.set(process.pid, { process, runs: pageRuns(pagemap), pages, read: files.read });
  }
  const explain: Explain = (process) => {
    const memory = memories.get(process.pid);
    if (memory === undefined) return [];
    const read: PagesReader = (offset, length) => files.read(memory.pages, offset, length);
    const options = { layersPath: layersPathOf(processes), shimName: SHIM, makesOwnCalls };
    return explainAreas(source, process, { runs: memory.runs, read }, options);
  };
  try {
    return {
      contents: {
        ...areasIn(processes, explain, textOf),
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

function areasIn(
  processes: readonly ProcessMemory['process'][],
  explain: Explain,
  textOf: (reason: KeptFor | 'unlinked') => string,
): Pick<ImageContents, 'areas' | 'groups' | 'kept'> {
  const groups = new Map<string, AreaGroup>();
  const kept = new Map<string, KeptGroup>();
  const areas: Area[] = [];
  for (const process of processes) {
    const linking = new Map(explain(process).map((one) => [one.start, one]));
    for (const { start, end, kind, prot, path } of process.areas) {
      const isLinked = layerOf(path) !== undefined;
      const known = kind === 'guard' ? undefined : linking.get(start);
      areas.push({
        pid: process.pid,
        start: start.toString(16),
        end: end.toString(16),
        kind: isLinked ? 'linked' : kind,
        access: accessText(prot),
        path: path ?? null,
        linked: isLinked,
        savedBytes: known?.savedBytes ?? 0,
        kept: known?.kept ?? null,
      });
      const name = isLinked ? 'linked' : kind;
      const group = groups.get(name);
      groups.set(name, {
        kind: name,
        count: (group?.count ?? 0) + 1,
        bytes: (group?.bytes ?? 0) + end - start,
      });
      if (known === undefined || known.kept === null) continue;
      const why = kept.get(known.kept);
      kept.set(known.kept, {
        reason: known.kept,
        areas: (why?.areas ?? 0) + 1,
        bytes: (why?.bytes ?? 0) + known.savedBytes,
        text: textOf(known.kept),
      });
    }
  }
  const bySize = (a: { bytes: number }, b: { bytes: number }): number => b.bytes - a.bytes;
  return { areas, groups: [...groups.values()].sort(bySize), kept: [...kept.values()].sort(bySize) };
}

/** Where the layers were bound when the image was taken, from the path of one that is mapped. */
function layersPathOf(processes: readonly ProcessMemory['process'][]): string {
  const path = processes.flatMap(({ areas }) => areas).find((area) => layerOf(area.path) !== undefined)?.path;
  return path === undefined ? '/dev/null' : dirname(path);
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
