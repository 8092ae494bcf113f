import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { join } from 'node:path';
import type { DescriptorSummary } from '@forkpoint/image';

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

/** Reads what the engine's files of an image hold; `root` is the pid of the program's first process. Throws the image package's errors. */
export async function readContents(image: string, root: number): Promise<ImageContents> {
  // Loaded only here: the codec is the largest part of the bundle, and no other command needs it.
  const { environmentNames, ImageDirectory, summarize } = await import('@forkpoint/image');
  const source = new ImageDirectory({
    names: readdirSync(image).filter((name) => name.endsWith('.img')),
    read: (name) => readFileSync(join(image, name)),
    size: (name) => statSync(join(image, name)).size,
  });
  const { processes } = summarize(source);
  const groups = new Map<string, AreaGroup>();
  const areas: Area[] = [];
  for (const { pid, areas: own } of processes) {
    for (const { start, end, kind, prot, path } of own) {
      areas.push({
        pid,
        start: start.toString(16),
        end: end.toString(16),
        kind,
        access: accessText(prot),
        path: path ?? null,
      });
      const group = groups.get(kind);
      groups.set(kind, { kind, count: (group?.count ?? 0) + 1, bytes: (group?.bytes ?? 0) + end - start });
    }
  }
  return {
    areas,
    groups: [...groups.values()].sort((a, b) => b.bytes - a.bytes),
    descriptors: processes.flatMap(({ pid, descriptors }) =>
      descriptors.map((item) => ({ pid, fd: item.fd, kind: item.kind, what: describe(item) })),
    ),
    environment: environmentNames(source, root, (name, offset, length) =>
      readPart(join(image, name), offset, length),
    ),
    savedBytes: new Map(processes.map(({ pid, dumped }) => [pid, dumped.bytes])),
  };
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

function readPart(file: string, offset: number, length: number): Uint8Array {
  const descriptor = openSync(file, 'r');
  try {
    const bytes = new Uint8Array(length);
    return bytes.subarray(0, readSync(descriptor, bytes, 0, length, offset));
  } finally {
    closeSync(descriptor);
  }
}
