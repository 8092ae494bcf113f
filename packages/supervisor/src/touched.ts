import { closeSync, openSync, readFileSync, readSync } from 'node:fs';

/** Ranges of a file in bytes. */
export interface Touched {
  readonly path: string;
  readonly ranges: readonly { readonly offset: number; readonly length: number }[];
}

const PAGE = 4096;
const ENTRY_BYTES = 8;
/** Pages whose entries are read at once. */
const BLOCK = 8192;
/** Upper half of an entry of /proc/PID/pagemap: present, swapped (Documentation/admin-guide/mm/pagemap.rst). */
const PRESENT_OR_SWAPPED = 0xc000_0000;

/**
 * Returns which parts of the private file mappings of a process it has touched, by path: what is in its page table, as it
 * was or changed since. Page files are mapped so that nothing around a fault is read (MADV_RANDOM). Throws system errors.
 */
export function touchedBy(hostPid: number): Touched[] {
  const found = new Map<string, { offset: number; length: number }[]>();
  const fd = openSync(`/proc/${hostPid}/pagemap`, 'r');
  try {
    for (const line of readFileSync(`/proc/${hostPid}/maps`, 'utf8').split('\n')) {
      const [, from, to, shared, offset, path] =
        /^([0-9a-f]+)-([0-9a-f]+) ...(.) ([0-9a-f]+) \S+ [1-9]\d*\s+(\/.*)$/.exec(line) ?? [];
      if (from === undefined || to === undefined || path === undefined || shared !== 'p') continue;
      const ranges = found.get(path) ?? [];
      found.set(path, ranges);
      const start = Number.parseInt(from, 16);
      const pages = (Number.parseInt(to, 16) - start) / PAGE;
      for (const { first, count } of present(fd, start / PAGE, pages))
        ranges.push({ offset: Number.parseInt(offset ?? '0', 16) + first * PAGE, length: count * PAGE });
    }
  } finally {
    closeSync(fd);
  }
  return [...found].map(([path, ranges]) => ({ path, ranges })).filter(({ ranges }) => ranges.length > 0);
}

/** Runs of pages that are there, counted from the first page of the mapping. */
function present(fd: number, page: number, pages: number): { first: number; count: number }[] {
  const runs: { first: number; count: number }[] = [];
  const entries = Buffer.alloc(BLOCK * ENTRY_BYTES);
  for (let at = 0; at < pages; at += BLOCK) {
    const wanted = Math.min(BLOCK, pages - at);
    const got = readSync(fd, entries, 0, wanted * ENTRY_BYTES, (page + at) * ENTRY_BYTES);
    for (let i = 0; i < Math.floor(got / ENTRY_BYTES); i++) {
      if ((entries.readUInt32LE(i * ENTRY_BYTES + 4) & PRESENT_OR_SWAPPED) === 0) continue;
      const last = runs.at(-1);
      if (last !== undefined && last.first + last.count === at + i) last.count++;
      else runs.push({ first: at + i, count: 1 });
    }
  }
  return runs;
}
