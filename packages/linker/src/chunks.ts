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

/** glibc lets the kernel choose, and the kernel allots downwards from near the stack: nothing of glibc's lies lower. */
const MMAP_LOWEST = 0x7d00_0000_0000;
const HEADER_BYTES = 16;
const IS_MMAPPED = 2;
const FLAG_BITS = 0xfff;
/** Pages that are read at once while searching. */
const BLOCK_PAGES = 256;

/**
 * Returns the addresses of the first pages of glibc's mmapped chunks in an area. Those pages stay anonymous, so that a
 * later mremap(2) of the chunk meets two areas and fails with EFAULT, upon which glibc copies (malloc/malloc.c,
 * mremap_chunk); on a file mapping it would show whatever follows in the file.
 *
 * A chunk begins a page with `prev_size` 0 and a size whose low bits say "mmapped", ends at a page, and lies within the
 * area. From one chunk the next is found by its size; only where no chunk begins is every page looked at.
 */
export function chunkHeaders(runs: readonly Run[], areaEnd: number, read: PagesReader): Set<number> {
  const headers = new Set<number>();
  let skip = 0;
  for (const run of runs) {
    const runEnd = run.address + run.pages * PAGE_SIZE;
    let at = Math.max(run.address, skip);
    while (at < runEnd && at >= MMAP_LOWEST) {
      const size = chunkSize(read(run.offset + at - run.address, HEADER_BYTES), 0, at, areaEnd);
      if (size !== null) {
        headers.add(at);
        skip = at + size;
        at = skip;
        continue;
      }
      const found = search(run, at + PAGE_SIZE, runEnd, areaEnd, read);
      if (found === null) break;
      at = found;
    }
  }
  return headers;
}

/** Returns the first address from `from` on where a chunk begins; null when there is none in the run. */
function search(run: Run, from: number, runEnd: number, areaEnd: number, read: PagesReader): number | null {
  for (let block = from; block < runEnd; block += BLOCK_PAGES * PAGE_SIZE) {
    const length = Math.min(BLOCK_PAGES * PAGE_SIZE, runEnd - block);
    const bytes = read(run.offset + block - run.address, length);
    for (let page = 0; page < bytes.length; page += PAGE_SIZE) {
      if (chunkSize(bytes, page, block + page, areaEnd) !== null) return block + page;
    }
  }
  return null;
}

function chunkSize(bytes: Uint8Array, at: number, address: number, areaEnd: number): number | null {
  if (bytes.length < at + HEADER_BYTES) return null;
  const view = new DataView(bytes.buffer, bytes.byteOffset + at, HEADER_BYTES);
  if (view.getUint32(0, true) !== 0 || view.getUint32(4, true) !== 0) return null;
  const low = view.getUint32(8, true);
  if ((low & FLAG_BITS) !== IS_MMAPPED) return null;
  const size = view.getUint32(12, true) * 2 ** 32 + low - IS_MMAPPED;
  return size >= PAGE_SIZE && address + size <= areaEnd ? size : null;
}
