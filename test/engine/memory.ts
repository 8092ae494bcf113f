import {
  chownSync,
  closeSync,
  cpSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { decodeImage } from '@forkpoint/image';
import type { ImageSource } from '@forkpoint/image';
import { LAYERS, link, moveLayers } from '@forkpoint/linker';
import type { LinkReport } from '@forkpoint/linker';
import { decodeRestorePlan, encodeRestorePlan } from '@forkpoint/manifest';

const PAGE = 4096;
const BLOCK = 256 * PAGE;

/** How two restores of the same checkpoint differ. */
export interface Difference {
  /** Pages that were compared. */
  readonly pages: number;
  /** Addresses of pages that differ, or that one of them has and the other has not. */
  readonly different: readonly number[];
}

/** Returns the files of an image directory. */
export function sourceOf(image: string): ImageSource {
  return {
    names: readdirSync(image).filter((name) => name.endsWith('.img')),
    read: (name) => readFileSync(join(image, name)),
    size: (name) => statSync(join(image, name)).size,
  };
}

/**
 * Copies an image that was taken with --no-link to `linked` and links it there, so that there are two images of the very same
 * moment. Both are restored stopped, before the program does anything.
 */
export function linkCopy(image: string, linked: string, threshold: number): LinkReport[] {
  cpSync(image, linked, { recursive: true, preserveTimestamps: true });
  const planFile = join(image, 'restore.plan');
  const plan = decodeRestorePlan(readFileSync(planFile));
  const read = (name: string, offset: number, length: number): Uint8Array => {
    const fd = openSync(join(linked, name), 'r');
    const bytes = Buffer.alloc(length);
    const count = readSync(fd, bytes, 0, length, offset);
    closeSync(fd);
    return bytes.subarray(0, count);
  };
  const result = link(sourceOf(linked), read, {
    layersPath: join(plan.controlDirectory, LAYERS),
    layerName: (pid) => `0123456789ab-${pid}.pages`,
    shimName: 'shim.so',
    makesOwnCalls: () => false,
    mayExecute: true,
    threshold,
  });
  moveLayers(linked, result);
  for (const [name, bytes] of result.files) writeFileSync(join(linked, name), bytes);
  const sizeOf = (name: string): { name: string; size: number } => ({
    name,
    size: statSync(join(linked, name)).size,
  });
  const layers = readdirSync(join(linked, LAYERS)).map((name) => ({
    name,
    size: sizeOf(join(LAYERS, name)).size,
  }));
  const criu = [...plan.criu, '--leave-stopped'];
  writeFileSync(planFile, encodeRestorePlan({ ...plan, criu }));
  const parts = plan.parts.map(({ name }) => sizeOf(name));
  writeFileSync(join(linked, 'restore.plan'), encodeRestorePlan({ ...plan, criu, parts, layers }));
  const { uid, gid } = statSync(image);
  for (const name of ['.', ...readdirSync(linked, { recursive: true, encoding: 'utf8' })])
    chownSync(join(linked, name), uid, gid);
  return [...result.reports.values()];
}

/** Bytes of `struct rseq` in include/uapi/linux/rseq.h of Linux 6.3 and later, rounded up. */
const RSEQ_BYTES = 32;

/** Returns where the kernel tells the threads of an image on which processor they are. */
export function rseqAreas(image: string): number[] {
  const source = sourceOf(image);
  return source.names
    .filter((name) => /^core-\d+\.img$/.test(name))
    .map((name) => decodeImage(name, source.read(name)))
    .flatMap((file) => (file.kind === 'core' ? file.entries : []))
    .map(({ message }) => Number(message.threadCore?.rseqEntry?.rseqAbiPointer ?? 0n))
    .filter((address) => address !== 0);
}

/**
 * Compares all readable memory of two processes, page by page. What only the kernel writes (vvar, vsyscall, and the areas at
 * `rseq`) is left out, and so is the list of linked memory in the shim's note.
 */
export function compareMemory(a: number, b: number, rseq: readonly number[]): Difference {
  const [one, other] = [readableOf(a), readableOf(b)];
  for (const pages of [one, other])
    for (const address of rseq) {
      const offset = address % PAGE;
      pages.get(address - offset)?.fill(0, offset, offset + RSEQ_BYTES);
    }
  const different = new Set<number>();
  for (const [address, digest] of one)
    if (other.get(address)?.equals(digest) !== true) different.add(address);
  for (const address of other.keys()) if (!one.has(address)) different.add(address);
  return { pages: Math.max(one.size, other.size), different: [...different].sort((x, y) => x - y) };
}

/** Returns the readable pages of a process by address; pages of zeros as one and the same. */
function readableOf(pid: number): Map<number, Buffer> {
  const pages = new Map<number, Buffer>();
  const memory = openSync(`/proc/${pid}/mem`, 'r');
  try {
    for (const line of readFileSync(`/proc/${pid}/maps`, 'utf8').split('\n')) {
      const [, from = '', to = '', access = '', name = ''] =
        /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+ *(.*)$/.exec(line) ?? [];
      if (!access.startsWith('r') || /^\[(vvar|vsyscall)/.test(name)) continue;
      readArea(memory, Number.parseInt(from, 16), Number.parseInt(to, 16), pages);
      if (name.endsWith('/shim.so')) blankNote(pages, Number.parseInt(from, 16), Number.parseInt(to, 16));
    }
  } finally {
    closeSync(memory);
  }
  return pages;
}

/** Leaves out what the linker tells the shim of a linked image: where there is linked memory (packages/linker/src/note.ts). */
function blankNote(pages: ReadonlyMap<number, Buffer>, from: number, to: number): void {
  for (let address = from; address < to; address += PAGE) {
    const page = pages.get(address);
    const at = page?.indexOf('forkpoint note 1') ?? -1;
    if (at >= 0) page?.fill(0, at + 40, at + 304);
  }
}

/** Reads 1 MiB at a time; behind the end of a mapped file there is nothing to read, in the one as in the other. */
function readArea(memory: number, from: number, to: number, pages: Map<number, Buffer>): void {
  for (let at = from; at < to; at += BLOCK) {
    const block = Buffer.alloc(Math.min(BLOCK, to - at));
    const count = readOrNothing(memory, block, at);
    for (let offset = 0; offset < block.length; offset += PAGE) {
      const page = block.subarray(offset, offset + PAGE);
      // A read that ended early may have met one page without content in the middle.
      if (offset + PAGE <= count || readOrNothing(memory, page, at + offset) === PAGE)
        pages.set(at + offset, page);
    }
  }
}

function readOrNothing(memory: number, into: Buffer, at: number): number {
  try {
    return readSync(memory, into, 0, into.length, at);
  } catch {
    // Nothing can be read there (EIO).
    return 0;
  }
}
