import {
  AREA_AIO,
  AREA_ANON_PRIVATE,
  AREA_FILE_PRIVATE,
  AREA_GUARD,
  AREA_STACK,
  AREA_VDSO,
  AREA_VSYSCALL,
  AREA_VVAR,
  MAP_DROPPABLE,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  PROT_EXEC,
} from '@forkpoint/image';
import type { vma_entry } from '@forkpoint/image';
import { isWatched } from './note.ts';
import type { AddressRange } from './note.ts';

/** Why an area keeps its pages in CRIU's own files. */
export type Reason =
  | 'kernel'
  | 'guard'
  | 'shared'
  | 'stack'
  | 'locked'
  | 'huge'
  | 'wiped'
  | 'droppable'
  | 'executable'
  | 'arguments'
  | 'file'
  | 'own-calls'
  | 'no-preload';

/** What the policy needs to know of the process that an area belongs to. */
export interface ProcessFacts {
  /** Stack pointers of all threads. */
  readonly stackPointers: readonly bigint[];
  /** Where its arguments and its environment are, as start and end. */
  readonly shown: readonly (readonly [start: bigint, end: bigint])[];
  /** Whether the preload shim is loaded into a glibc program: it keeps madvise(2) and mremap(2) honest on linked memory. */
  readonly hasShim: boolean;
  /** Where the shim looks, which is everywhere when absent: an image that is flattened stays as it was told. */
  readonly watched?: readonly AddressRange[];
  /** Whether code is mapped that makes these calls without the libc, past the shim: Go. */
  readonly hasOwnCalls: boolean;
  /** Whether code may be mapped from page files: where restores map them from nothing is mounted noexec. */
  readonly mayExecute: boolean;
  /** Ids in files.img of files whose private pages are never given back: what the loader mapped, archives of the JVM, page files. */
  readonly steadyFiles: ReadonlySet<number>;
  /** Areas that were linked in an earlier generation: what allowed it then allows it now. None when absent. */
  readonly linkedBefore?: ReadonlySet<vma_entry>;
}

/** One line of the policy. */
export interface Rule {
  readonly reason: Reason;
  /** What goes wrong when such an area is linked. */
  readonly hazard: string;
  readonly applies: (area: vma_entry, facts: ProcessFacts) => boolean;
}

// The images keep advice of madvise(2) as bits by its number (include/uapi/asm-generic/mman-common.h).
const MADV_HUGEPAGE = 1n << 14n;
const MADV_WIPEONFORK = 1n << 18n;
const KERNEL = AREA_VDSO | AREA_VVAR | AREA_VSYSCALL | AREA_AIO;

/**
 * The areas that stay as they are, first match first. Each line has its program: a case of the same name in
 * packages/testkit/src/programs/c/hazards.c, or for the last two a way to build or start it (test/engine/hazards.test.ts).
 */
export const RULES: readonly Rule[] = [
  { reason: 'kernel', hazard: 'the kernel fills it', applies: ({ status }) => (status & KERNEL) !== 0 },
  { reason: 'guard', hazard: 'it has no pages', applies: ({ status }) => (status & AREA_GUARD) !== 0 },
  {
    reason: 'shared',
    hazard: 'a private mapping would no longer be shared',
    applies: ({ status }) => (status & (AREA_ANON_PRIVATE | AREA_FILE_PRIVATE)) === 0,
  },
  {
    reason: 'stack',
    hazard:
      'a file mapping cannot grow downwards, and /proc/PID/cmdline reads anonymous pages only (mm/gup.c, FOLL_ANON)',
    applies: (area, { stackPointers }) =>
      (area.status & AREA_STACK) !== 0 ||
      (area.flags & MAP_GROWSDOWN) !== 0 ||
      stackPointers.some((pointer) => area.start <= pointer && pointer < area.end),
  },
  {
    reason: 'locked',
    hazard: 'mlock(2) copies every page at once',
    applies: ({ flags }) => (flags & MAP_LOCKED) !== 0,
  },
  {
    reason: 'huge',
    hazard: 'file pages are small: the heap would lose its huge pages',
    applies: ({ flags, madv }) => (flags & MAP_HUGETLB) !== 0 || (madv & MADV_HUGEPAGE) !== 0n,
  },
  {
    reason: 'wiped',
    hazard: 'the kernel wipes anonymous memory only (mm/madvise.c: MADV_WIPEONFORK is EINVAL on files)',
    applies: ({ madv }) => (madv & MADV_WIPEONFORK) !== 0n,
  },
  {
    reason: 'droppable',
    hazard:
      'the kernel may drop its pages at any time, which a file mapping does not know (mm: MAP_DROPPABLE)',
    applies: ({ flags }) => (flags & MAP_DROPPABLE) !== 0,
  },
  {
    reason: 'executable',
    hazard: 'code is not mapped from a directory mounted noexec (mm/mmap.c)',
    applies: ({ prot }, { mayExecute }) => (prot & PROT_EXEC) !== 0 && !mayExecute,
  },
  {
    reason: 'arguments',
    hazard: 'arguments that a program moved here: /proc/PID/cmdline and environ read anonymous pages only',
    applies: (area, { shown }) => shown.some(([start, end]) => start < area.end && area.start < end),
  },
  {
    reason: 'file',
    hazard: 'MADV_DONTNEED has to show the mapped file again, which a page file cannot',
    applies: ({ status, shmid }, { steadyFiles }) =>
      (status & AREA_FILE_PRIVATE) !== 0 && !steadyFiles.has(Number(shmid)),
  },
  {
    reason: 'own-calls',
    hazard: 'code of Go gives memory back past the libc and the shim, and would find old content for zeros',
    applies: (area, { hasOwnCalls, linkedBefore }) =>
      hasOwnCalls && (area.status & AREA_ANON_PRIVATE) !== 0 && linkedBefore?.has(area) !== true,
  },
  {
    reason: 'no-preload',
    hazard:
      'without the shim (static, musl, attached) MADV_DONTNEED and mremap(2) show the file instead of zeros',
    applies: (area, { hasShim, watched, linkedBefore }) =>
      (area.status & AREA_ANON_PRIVATE) !== 0 &&
      !(hasShim && (watched === undefined || isWatched(area, watched))) &&
      linkedBefore?.has(area) !== true,
  },
];

/** Returns why an area stays anonymous, or null when its pages may be linked. */
export function reasonAgainst(area: vma_entry, facts: ProcessFacts): Reason | null {
  return RULES.find((rule) => rule.applies(area, facts))?.reason ?? null;
}
