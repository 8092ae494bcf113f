import { PAGE_SIZE } from '@forkpoint/image';

/** A run of stored pages: address and count, and where they lie in the pages file. */
export interface Run {
  readonly address: number;
  readonly pages: number;
  /** Offset in bytes into the pages file. */
  readonly offset: number;
}

/** Reads `length` bytes at `offset` of the pages file. */
export type PagesReader = (offset: number, length: number) => Uint8Array;

/** What glibc has counted of its mmapped chunks. */
export interface MappedChunks {
  readonly count: number;
  /** Of the chunks with what lies before and behind them. */
  readonly bytes: number;
}

/** Stored runs of one area, and where the private memory around them ends. */
export interface Place {
  readonly runs: readonly Run[];
  readonly limit: number;
}

/** A chunk that begins in a page: the page that holds its header, where the chunk ends, and bytes of the mapping it was given. */
interface Found {
  readonly page: number;
  readonly end: number;
  readonly bytes: number;
}

/**
 * Where glibc's mmapped chunks are: it lets the kernel choose, which allots downwards from near the stack, or with an
 * unlimited stack upwards from a third of the address space, plus at most 1 TiB of randomness (arch/x86/mm/mmap.c).
 */
const PLACES: readonly (readonly [from: number, to: number])[] = [
  [0x2aaa_0000_0000, 0x2d00_0000_0000],
  [0x7d00_0000_0000, 0x8000_0000_0000],
];
const HEADER_BYTES = 16;
const IS_MMAPPED = 2;
/** Low bits of a size: PREV_INUSE, IS_MMAPPED, NON_MAIN_ARENA. */
const FLAG_BITS = 7;
/**
 * Where in a page a header can stand: at its start, or 16 bytes before an aligned address when the chunk comes from
 * memalign(3). `prev_size` is then the distance to the start of the mapping.
 */
const HEADER_OFFSETS = [0, 48, 112, 240, 496, 1008, 2032, 4080];
/** Pages that are read at once while searching. */
const BLOCK_PAGES = 256;
/** How many pages before the end of memory that no chunk begins in are searched, one after the other. */
const WINDOWS = [0, BLOCK_PAGES, 16 * BLOCK_PAGES, Number.POSITIVE_INFINITY];

/**
 * Returns the addresses of the pages that hold headers of glibc's mmapped chunks. Those pages stay anonymous, so that a
 * later mremap(2) of the chunk meets two areas and fails with EFAULT, upon which glibc copies (malloc/malloc.c,
 * mremap_chunk); on a file mapping it would show whatever follows in the file.
 *
 * A header's size says "mmapped", start and end of the chunk are page bounds, and it ends before `limit`, the end of the
 * private memory around the runs. From one chunk the next is found by its size. A mapping of the program's own may have become
 * one area with a chunk, which then begins at any of its pages; the kernel allots downwards, so most likely near its end. That is
 * searched further and further until all chunks that glibc has `counted` are found, to the last byte; all of it when that is not known.
 */
export function chunkHeaders(
  places: readonly Place[],
  read: PagesReader,
  counted: MappedChunks | null = null,
): Set<number> {
  let found: Found[] = [];
  for (const window of counted === null ? [Number.POSITIVE_INFINITY] : WINDOWS) {
    found = collect(places, read, window);
    const bytes = found.reduce((sum, one) => sum + one.bytes, 0);
    if (found.length === counted?.count && bytes === counted.bytes) break;
  }
  return new Set(found.map(({ page }) => page));
}

function collect(places: readonly Place[], read: PagesReader, window: number): Found[] {
  const all: Found[] = [];
  let skip = 0;
  for (const { runs, limit } of places) {
    for (const run of runs) {
      const runEnd = run.address + run.pages * PAGE_SIZE;
      if (!PLACES.some(([from, to]) => from <= run.address && run.address < to)) continue;
      let at = Math.max(run.address, skip);
      while (at < runEnd) {
        const first = read(run.offset + at - run.address, HEADER_BYTES);
        const begins = Math.max(at, runEnd - window * PAGE_SIZE);
        const found =
          chunkAt(first, 0, 0, at, limit) ??
          (begins > at ? search(run, at, at + PAGE_SIZE, limit, read) : null) ??
          search(run, begins, runEnd, limit, read);
        if (found === null) break;
        all.push(found);
        skip = found.end;
        at = skip;
      }
    }
  }
  return all;
}

/** Returns the first page from `from` on that holds a header; null when there is none in the run. */
function search(run: Run, from: number, runEnd: number, limit: number, read: PagesReader): Found | null {
  for (let block = from; block < runEnd; block += BLOCK_PAGES * PAGE_SIZE) {
    const length = Math.min(BLOCK_PAGES * PAGE_SIZE, runEnd - block);
    const bytes = read(run.offset + block - run.address, length);
    for (let page = 0; page < bytes.length; page += PAGE_SIZE) {
      for (const offset of HEADER_OFFSETS) {
        const found = chunkAt(bytes, page, offset, block + page, limit);
        if (found !== null) return found;
      }
    }
  }
  return null;
}

/** Returns the chunk whose header stands at `offset` of the page at `address`; null when there is none. */
function chunkAt(
  bytes: Uint8Array,
  page: number,
  offset: number,
  address: number,
  limit: number,
): Found | null {
  const at = page + offset;
  if (bytes.length < at + HEADER_BYTES) return null;
  // Most pages are told apart here, so nothing is built before.
  const previous = word(bytes, at);
  if (offset === 4080 ? (previous & 0xfff) !== 4080 : previous !== offset) return null;
  const low = word(bytes, at + 8);
  if ((low & FLAG_BITS) !== IS_MMAPPED) return null;
  const before = previous + word(bytes, at + 4) * 2 ** 32;
  const size = word(bytes, at + 12) * 2 ** 32 + low - IS_MMAPPED;
  const end = address + offset + size;
  return size >= HEADER_BYTES && before <= address + offset && end % PAGE_SIZE === 0 && end <= limit
    ? { page: address, end, bytes: before + size }
    : null;
}

function word(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16)) +
    (bytes[at + 3] ?? 0) * 2 ** 24
  );
}
