import {
  AREA_AIO,
  AREA_ANON_PRIVATE,
  AREA_FILE_PRIVATE,
  AREA_GUARD,
  AREA_STACK,
  AREA_VDSO,
  AREA_VSYSCALL,
  AREA_VVAR,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  PROT_EXEC,
} from '@forkpoint/image';
import type { vma_entry } from '@forkpoint/image';

/** Why an area keeps its pages in CRIU's own files. */
export type Reason =
  | 'kernel'
  | 'guard'
  | 'shared'
  | 'stack'
  | 'locked'
  | 'huge'
  | 'wiped'
  | 'executable'
  | 'no-preload';

/** What the policy needs to know of the process that an area belongs to. */
export interface ProcessFacts {
  /** Stack pointers of all threads. */
  readonly stackPointers: readonly bigint[];
  /** Whether the preload shim is loaded, which keeps madvise(2) and mremap(2) honest on linked memory. */
  readonly hasShim: boolean;
  /** Areas that were linked in an earlier generation: what allowed it then allows it now. None when absent. */
  readonly linkedBefore?: ReadonlySet<vma_entry>;
}

interface Rule {
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
 * The areas that stay anonymous, first match first. Each line was a failing program once; the programs are in
 * test/engine/linked.test.ts.
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
    reason: 'executable',
    hazard: 'a data directory mounted noexec refuses PROT_EXEC (mm/mmap.c)',
    applies: ({ prot }) => (prot & PROT_EXEC) !== 0,
  },
  {
    reason: 'no-preload',
    hazard: 'MADV_DONTNEED and mremap(2) show the file again instead of zeros',
    applies: (area, { hasShim, linkedBefore }) =>
      !hasShim && (area.status & AREA_ANON_PRIVATE) !== 0 && linkedBefore?.has(area) !== true,
  },
];

/** Returns why an area stays anonymous, or null when its pages may be linked. */
export function reasonAgainst(area: vma_entry, facts: ProcessFacts): Reason | null {
  return RULES.find((rule) => rule.applies(area, facts))?.reason ?? null;
}
