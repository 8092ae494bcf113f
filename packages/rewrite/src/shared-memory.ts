import {
  AREA_ANON_PRIVATE,
  AREA_ANON_SHARED,
  AREA_FILE_PRIVATE,
  AREA_FILE_SHARED,
  AREA_MEMFD,
  AREA_SYSV,
  MAP_ANONYMOUS,
  type MessageFile,
  type PagemapFile,
  PAGE_PRESENT,
  PAGE_SIZE,
  pagemapEntry,
  pageRuns,
  toAddress,
  type vma_entry,
} from '@forkpoint/image';
import type { Draft } from './draft.ts';

/** Bytes of a pages file that are looked at at once. */
const COUNTED_BYTES = 1 << 20;
const ZEROS = new Uint8Array(PAGE_SIZE);

/** An area of a process that is a view of shared memory or of a memfd. */
interface View {
  readonly pid: number;
  readonly area: vma_entry;
  readonly file: MessageFile<'mm'>;
}

/** A memfd of the image. */
interface Memfd {
  readonly name: string;
  readonly shmid: number;
  /** Size in pages, rounded up. */
  readonly pageCount: number;
  /** Id of an open file description of it. */
  readonly fileId: number | undefined;
  readonly views: readonly View[];
}

/**
 * Repairs mapped memfds and shared memory after a rootless dump. Without map_files CRIU takes every mapping on the
 * kernel's internal tmpfs for anonymous memory (vma_get_mapfile_user in criu/proc_parse.c of 4.2), with three results:
 *
 * - A mapped memfd comes back as two files, one behind the descriptor and one behind the mapping. Here the area becomes
 *   what a dump with map_files makes of it: a mapping of the memfd's file description.
 * - A private mapping loses the pages the program has not touched. The same change brings them back from the memfd.
 * - The memfd's pagemap is overwritten with what one mapping shows (dump_one_shmem in criu/shmem.c reads from the start of
 *   the first mapping as if it were the start of the object). The memfd's own pages are still there, in a pages file
 *   that nothing refers to; where the mapping was partial the pagemap is made again from them.
 */
export function repairSharedMemory(draft: Draft): void {
  const views = collectViews(draft);
  const memfds = collectMemfds(draft, views);
  const lost = repairContents(draft, memfds);
  for (const memfd of memfds) repairViews(draft, memfd, lost.has(memfd));
  const repaired = new Set(memfds.map(({ shmid }) => shmid));
  for (const [shmid, shared] of groupShared(views)) {
    if (!repaired.has(shmid)) repairOffset(draft, shmid, shared);
  }
  noteClosed(draft, views);
}

function collectViews(draft: Draft): View[] {
  const views: View[] = [];
  for (const pid of draft.pids) {
    const file = draft.image.find('mm', `mm-${pid}.img`);
    for (const area of file?.entries[0]?.message.vmas ?? []) {
      const isAnonymous = (area.status & (AREA_ANON_SHARED | AREA_ANON_PRIVATE)) !== 0;
      const isSystemV = (area.status & AREA_SYSV) !== 0;
      if (file && isAnonymous && !isSystemV && area.shmid !== 0n) views.push({ pid, area, file });
    }
  }
  return views;
}

function collectMemfds(draft: Draft, views: readonly View[]): Memfd[] {
  const files = draft.image.entries('files', 'files.img');
  return draft.image.entries('memfd', 'memfd.img').map(({ message }) => ({
    name: message.name,
    shmid: message.shmid,
    pageCount: Math.ceil(Number(message.size) / PAGE_SIZE),
    fileId: files.find((entry) => entry.message.memfd?.inodeId === Number(message.inodeId))?.message.id,
    views: views.filter(({ area }) => area.shmid === BigInt(message.shmid)),
  }));
}

/** Makes the areas mappings of the memfd's file description, as memfd.c and files-reg.c of CRIU restore them. */
function repairViews(draft: Draft, memfd: Memfd, isLost: boolean): void {
  const { fileId } = memfd;
  if (fileId === undefined || memfd.views.length === 0) return;
  for (const { area, file } of memfd.views) {
    const isShared = (area.status & AREA_ANON_SHARED) !== 0;
    area.status &= ~(AREA_ANON_SHARED | AREA_ANON_PRIVATE);
    area.status |= AREA_MEMFD | (isShared ? AREA_FILE_SHARED : AREA_FILE_PRIVATE);
    area.flags &= ~MAP_ANONYMOUS;
    area.shmid = BigInt(fileId);
    draft.touch(file);
  }
  if (isLost) return;
  draft.notes.push({
    code: 'memfd-repaired',
    severity: 'repaired',
    message: `the memfd ${memfd.name} and its ${memfd.views.length} mappings are one file again`,
  });
}

/** Points the pagemaps of partly mapped memfds at the memfd's own pages; returns those whose pages cannot be told. */
function repairContents(draft: Draft, memfds: readonly Memfd[]): Set<Memfd> {
  const lost = new Set<Memfd>();
  const overwritten = memfds.filter(
    ({ views, pageCount }) => pageCount > 0 && views.some(({ area }) => isShared(area)),
  );
  // CRIU numbers pages files as it writes them, and writes memfds in the order of memfd.img.
  const orphans = unusedPages(draft);
  for (const [index, memfd] of overwritten.entries()) {
    const first = memfd.views.find(({ area }) => isShared(area));
    if (!first || showsWhole(memfd, first)) continue;
    const name = orphans.length === overwritten.length ? orphans[index] : undefined;
    const pagemap = draft.image.pagemap(`pagemap-shmem-${memfd.shmid}.img`);
    if (pagemap && name !== undefined && showsAllData(draft, memfd, first, pagemap, name)) continue;
    // With a hole in the memfd there are fewer pages than its size says, and where the hole was is not recorded.
    if (!pagemap || name === undefined || draft.image.size(name) !== memfd.pageCount * PAGE_SIZE) {
      noteLost(draft, 'memfd-lost', `the memfd ${memfd.name} is mapped only in part`);
      lost.add(memfd);
      continue;
    }
    pagemap.head.pagesId = Number(/\d+/.exec(name)?.[0]);
    pagemap.entries = [pagemapEntry(0, memfd.pageCount, PAGE_PRESENT)];
    draft.touch(pagemap);
  }
  return lost;
}

/**
 * Tells whether the mappings, from the start of the memfd on, show everything in it but zeros, as those of the JVM's ZGC do. CRIU has
 * stored what they show as the memfd's first pages, which is then right; and the memfd's own pages, of which nobody knows where
 * they were, hold as many that are not zeros: so there is none behind the mappings.
 */
function showsAllData(draft: Draft, memfd: Memfd, first: View, pagemap: PagemapFile, own: string): boolean {
  const known = first.area.pgoff === 0n ? contiguousFrom(memfd.views, first, 0) : 0;
  const ends = memfd.views.map(({ area }) => Number(area.pgoff + area.end - area.start) / PAGE_SIZE);
  const runs = pageRuns(pagemap);
  const stored = runs.reduce((sum, { pageCount }) => sum + pageCount, 0);
  const isDense = runs.every(
    ({ address, firstPage }) => firstPage !== undefined && address === firstPage * PAGE_SIZE,
  );
  if (known === 0 || Math.max(...ends) > known || !isDense || stored !== known) return false;
  const shown = countData(draft, `pages-${pagemap.head.pagesId}.img`);
  return shown !== undefined && shown === countData(draft, own);
}

/** Counts the pages of a pages file that are not all zeros; undefined when they cannot be read. */
function countData(draft: Draft, name: string): number | undefined {
  const size = draft.image.size(name) ?? 0;
  let count = 0;
  for (let offset = 0; offset < size; offset += COUNTED_BYTES) {
    const bytes = draft.image.readRange(name, offset, Math.min(COUNTED_BYTES, size - offset));
    if (bytes === undefined) return undefined;
    for (let at = 0; at < bytes.length; at += PAGE_SIZE)
      if (Buffer.compare(bytes.subarray(at, at + PAGE_SIZE), ZEROS) !== 0) count++;
  }
  return count;
}

function isShared(area: vma_entry): boolean {
  return (area.status & AREA_ANON_SHARED) !== 0;
}

/** Tells whether what CRIU read from the first mapping on is the whole object in its order. */
function showsWhole(memfd: Memfd, first: View): boolean {
  return contiguousFrom(memfd.views, first, 0) >= memfd.pageCount;
}

/** Counts the pages from `page` of the object on that lie in order behind the first view's start in its process. */
function contiguousFrom(views: readonly View[], first: View, page: number): number {
  const near = views.filter(({ pid, area }) => pid === first.pid && isShared(area));
  let offset = BigInt(page * PAGE_SIZE);
  let address = first.area.start;
  for (const { area } of near.filter(({ area }) => area.start >= first.area.start)) {
    if (area.start !== address || area.pgoff !== offset) break;
    offset += area.end - area.start;
    address = area.end;
  }
  return Number(offset / BigInt(PAGE_SIZE)) - page;
}

/** Reports private mappings of memfds that are closed: nothing in the image has the pages that were not touched. */
function noteClosed(draft: Draft, views: readonly View[]): void {
  for (const { pid, area } of views) {
    if ((area.status & AREA_ANON_PRIVATE) === 0) continue; // shared, or repaired by now
    const pagemap = draft.image.pagemap(`pagemap-${pid}.img`);
    const start = toAddress(area.start, `mm-${pid}.img`);
    const end = toAddress(area.end, `mm-${pid}.img`);
    let known = 0;
    for (const run of pagemap ? pageRuns(pagemap) : []) {
      const to = Math.min(end, run.address + run.pageCount * PAGE_SIZE);
      known += Math.max(0, to - Math.max(start, run.address));
    }
    if (known >= end - start) continue;
    const where = `0x${start.toString(16)} of process ${pid}`;
    noteLost(
      draft,
      'memfd-lost',
      `the area at ${where} is a private mapping of a closed memfd, touched in part`,
    );
  }
}

function groupShared(views: readonly View[]): Map<number, View[]> {
  const groups = new Map<number, View[]>();
  for (const view of views) {
    if (!isShared(view.area)) continue;
    const shmid = Number(view.area.shmid);
    groups.set(shmid, [...(groups.get(shmid) ?? []), view]);
  }
  return groups;
}

/**
 * Repairs anonymous shared memory whose first mapping does not begin at the object's start (its head was unmapped): CRIU
 * stores what it read there as pages from 0 on, and garbage behind it.
 */
function repairOffset(draft: Draft, shmid: number, views: readonly View[]): void {
  const [first] = views;
  const pagemap = draft.image.pagemap(`pagemap-shmem-${shmid}.img`);
  if (!first || !pagemap) return;
  const start = Number(first.area.pgoff) / PAGE_SIZE;
  const known = contiguousFrom(views, first, start);
  const ends = views.map(({ area }) => Number(area.pgoff + area.end - area.start) / PAGE_SIZE);
  const begins = views.map(({ area }) => Number(area.pgoff) / PAGE_SIZE);
  if (Math.min(...begins) < start || Math.max(...ends) > start + known) {
    noteLost(draft, 'shared-memory-lost', `the shared memory ${shmid} is mapped in pieces`);
    return;
  }
  const [run] = pageRuns(pagemap);
  // Read through /proc/PID/mem every page is dumped, so there is one run; with map_files the offset is right already.
  if (start === 0 || pagemap.entries.length !== 1 || run?.address !== 0 || run.pageCount !== start + known)
    return;
  pagemap.entries = [pagemapEntry(start * PAGE_SIZE, known, run.flags)];
  draft.touch(pagemap);
  draft.notes.push({
    code: 'shared-memory-repaired',
    severity: 'repaired',
    message: `the shared memory ${shmid}, mapped from page ${start} on, is in its place again`,
  });
}

function noteLost(draft: Draft, code: 'memfd-lost' | 'shared-memory-lost', what: string): void {
  const message = `${what}, and CRIU without privileges does not record the rest: it comes back wrong`;
  draft.notes.push({ code, severity: 'lost', message });
}

/** Returns the names of the pages files that no pagemap refers to, in the order of their numbers. */
export function unusedPages(draft: Draft): string[] {
  const used = new Set<number>();
  for (const name of draft.image.names) {
    const pagemap = draft.image.pagemap(name);
    if (pagemap) used.add(pagemap.head.pagesId);
  }
  return draft.image.names
    .map((name) => ({ name, number: Number(/^pages-(\d+)\.img$/.exec(name)?.[1] ?? -1) }))
    .filter(({ number }) => number >= 0 && !used.has(number))
    .sort((one, other) => one.number - other.number)
    .map(({ name }) => name);
}
