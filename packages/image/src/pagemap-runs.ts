import { DEFAULT_LIMITS, decodeImage, decodePagemapHead } from './codec.ts';
import type { Limits } from './codec.ts';
import { ImageError } from './error.ts';
import type { pagemap_head } from './gen/pagemap_pb.ts';
import { PAGE_PRESENT, PAGE_SIZE, pageRuns } from './pages.ts';
import type { PageRun } from './pages.ts';

/** Tags of the fields of a pagemap entry, all of them varints: number times 8. */
const VADDR = 8;
const COMPAT_NR_PAGES = 16;
const FLAGS = 32;
const NR_PAGES = 40;
/** Bytes of a varint whose value a number holds exactly. */
const EXACT_BYTES = 7;
const LENGTH_BYTES = 4;
/** The entries of CRIU have some 20 bytes. */
const ENTRY_BYTES_MAX = 64;

/** Runs that are being read: the last one may still grow. */
interface Growing extends PageRun {
  pageCount: number;
}

/**
 * Returns the head of a pagemap file and its runs, joined where they follow each other in memory and in the pages file: what is
 * needed of it, without a message for each entry. Throws ImageError.
 */
export function pagemapRuns(
  name: string,
  bytes: Uint8Array,
  limits: Partial<Limits> = {},
): { head: pagemap_head; runs: PageRun[] } {
  const bounds = { ...DEFAULT_LIMITS, ...limits };
  if (bytes.length <= bounds.fileBytes) {
    const { head, offset } = decodePagemapHead(name, bytes, bounds);
    const runs = joinedRuns(bytes, offset, bounds.pages);
    if (runs !== null) return { head, runs };
  }
  const file = decodeImage(name, bytes, limits);
  if (file.kind !== 'pagemap')
    throw new ImageError('ERR_FORKPOINT_IMAGE_INVALID', name, 'this is no name of a pagemap');
  return { head: file.head, runs: pageRuns(file, bounds.pages) };
}

/**
 * Returns the runs of the entries of a pagemap file, from offset `at` on, neighbours joined where they follow each other
 * in memory and in the pages file alike; null when there is anything in it that CRIU 4.2 does not write: then the generic
 * decoder has to look. CRIU writes an entry for every megabyte, and to make a message of each is most of what it would take
 * to link an image of gigabytes.
 */
function joinedRuns(bytes: Uint8Array, at: number, maxPages: number): PageRun[] | null {
  const runs: Growing[] = [];
  const entry = { address: 0, pages: 0, flags: 0 };
  let stored = 0;
  let total = 0;
  let next = at;
  while (next < bytes.length) {
    const from = next + LENGTH_BYTES;
    const length = bytes[next] ?? 0;
    const isShort = bytes[next + 1] === 0 && bytes[next + 2] === 0 && bytes[next + 3] === 0;
    next = from + length;
    if (!isShort || length > ENTRY_BYTES_MAX || next > bytes.length) return null;
    if (!readEntry(bytes, from, next, entry)) return null;
    const { address, pages, flags } = entry;
    total += pages;
    if (total > maxPages || address % PAGE_SIZE !== 0) return null;
    if (address + pages * PAGE_SIZE > Number.MAX_SAFE_INTEGER) return null;
    const last = runs.at(-1);
    if (last?.flags === flags && last.address + last.pageCount * PAGE_SIZE === address)
      last.pageCount += pages;
    else {
      const firstPage = (flags & PAGE_PRESENT) === 0 ? undefined : stored;
      runs.push({ address, pageCount: pages, flags, firstPage });
    }
    if ((flags & PAGE_PRESENT) !== 0) stored += pages;
  }
  return runs;
}

/** Reads an entry of `vaddr`, `compat_nr_pages`, `flags` and `nr_pages`, each once and in order; false for any other. */
function readEntry(
  bytes: Uint8Array,
  from: number,
  to: number,
  entry: { address: number; pages: number; flags: number },
): boolean {
  let seen = 0;
  let at = from;
  while (at < to) {
    const tag = bytes[at++] ?? 0;
    const end = Math.min(to, at + EXACT_BYTES);
    let value = 0;
    let scale = 1;
    for (;;) {
      const byte = bytes[at++] ?? 0;
      if (at > end) return false;
      value += (byte & 0x7f) * scale;
      if (byte < 0x80) break;
      scale *= 128;
    }
    if (tag === VADDR && seen === 0) entry.address = value;
    else if (tag === COMPAT_NR_PAGES && seen === VADDR) {
      if (value !== 0) return false;
    } else if (tag === FLAGS && seen === COMPAT_NR_PAGES) {
      if (value > 0xff) return false;
      entry.flags = value;
    } else if (tag === NR_PAGES && seen === FLAGS) entry.pages = value;
    else return false;
    seen = tag;
  }
  return seen === NR_PAGES;
}
