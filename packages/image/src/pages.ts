import { DEFAULT_LIMITS, type PagemapFile } from './codec.ts';
import { ImageError } from './error.ts';
import type { pagemap_entry } from './gen/pagemap_pb.ts';
import { create } from './message.ts';
import { schema } from './schema.ts';

const entryOf = schema<pagemap_entry>('pagemap_entry');

/** Bytes of a page; forkpoint knows x86-64 only. */
export const PAGE_SIZE = 4096;

/** Flags of a pagemap entry (criu/include/pagemap.h). */
export const PAGE_IN_PARENT = 1;
export const PAGE_LAZY = 2;
export const PAGE_PRESENT = 4;

/** A run of pages that lie one behind the other in memory. */
export interface PageRun {
  /** Address in bytes, a multiple of PAGE_SIZE; an offset into the object for shared memory. */
  readonly address: number;
  readonly pageCount: number;
  /** PAGE_IN_PARENT, PAGE_LAZY, PAGE_PRESENT. */
  readonly flags: number;
  /** Index of the first page inside the pages file; undefined when the pages are not in it. */
  readonly firstPage: number | undefined;
}

/**
 * Returns the runs of a pagemap in file order. Reads pagemaps of CRIU 4.2 (64-bit `nr_pages`), of 4.1 (32-bit count) and
 * of old versions without flags. Throws ImageError for addresses or counts out of range.
 */
export function pageRuns(file: PagemapFile, maxPages: number = DEFAULT_LIMITS.pages): PageRun[] {
  let total = 0;
  let stored = 0;
  return file.entries.map((entry) => {
    const address = toAddress(entry.vaddr, file.name);
    const pageCount = Number(Object.hasOwn(entry, 'nrPages') ? entry.nrPages : entry.compatNrPages);
    total += pageCount;
    if (total > maxPages) {
      throw new ImageError('ERR_FORKPOINT_IMAGE_LIMIT', file.name, `more than ${maxPages} pages`);
    }
    if (address % PAGE_SIZE !== 0 || address + pageCount * PAGE_SIZE > Number.MAX_SAFE_INTEGER) {
      const what = `${pageCount} pages at 0x${address.toString(16)} are no range of pages`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_INVALID', file.name, what);
    }
    const flags = flagsOf(entry);
    const isStored = (flags & PAGE_PRESENT) !== 0;
    const firstPage = isStored ? stored : undefined;
    if (isStored) stored += pageCount;
    return { address, pageCount, flags, firstPage };
  });
}

/** Returns a pagemap entry as CRIU 4.2 writes it: 64-bit count, 32-bit count 0. */
export function pagemapEntry(address: number, pageCount: number, flags: number): pagemap_entry {
  return create(entryOf(), {
    vaddr: BigInt(address),
    compatNrPages: 0,
    flags,
    nrPages: BigInt(pageCount),
  });
}

/** Returns an address of an image as a number. Throws ImageError above 2^53. */
export function toAddress(value: bigint, file: string): number {
  const address = Number(value);
  if (address > Number.MAX_SAFE_INTEGER) {
    throw new ImageError('ERR_FORKPOINT_IMAGE_INVALID', file, `0x${value.toString(16)} is no address`);
  }
  return address;
}

function flagsOf(entry: pagemap_entry): number {
  if (entry.inParent) return entry.flags | PAGE_IN_PARENT;
  return Object.hasOwn(entry, 'flags') ? entry.flags : PAGE_PRESENT;
}
