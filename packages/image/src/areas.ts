import type { ImageDirectory } from './directory.ts';
import type { mm_entry } from './gen/mm_pb.ts';
import type { vma_entry } from './gen/vma_pb.ts';
import { toAddress } from './pages.ts';
import {
  AREA_AIO,
  AREA_ANON_SHARED,
  AREA_FILE_PRIVATE,
  AREA_FILE_SHARED,
  AREA_GUARD,
  AREA_HEAP,
  AREA_MEMFD,
  AREA_STACK,
  AREA_SYSV,
  AREA_VDSO,
  AREA_VSYSCALL,
  AREA_VVAR,
} from './vma.ts';

/** What backs a memory area. */
export type AreaKind =
  | 'heap'
  | 'stack'
  | 'anon'
  | 'shared'
  | 'file'
  | 'file-shared'
  | 'memfd'
  | 'sysv'
  | 'vdso'
  | 'vvar'
  | 'aio'
  | 'guard';

/** A memory area of a process. Addresses and sizes are bytes. */
export interface AreaSummary {
  readonly start: number;
  readonly end: number;
  /** PROT_READ 1, PROT_WRITE 2, PROT_EXEC 4. */
  readonly prot: number;
  /** Flags of mmap(2). */
  readonly flags: number;
  readonly kind: AreaKind;
  /** Offset in bytes into the file or shared object. */
  readonly offset: number;
  /** Path of the mapped file, or `memfd:` and its name. */
  readonly path?: string;
  /** Id of the mapped file in files.img, or of the shared memory. */
  readonly object?: number;
}

/**
 * Returns the memory areas of one process but the vsyscall page, which is the kernel's, above 2^63 and the same in all.
 * `pathOf` names a file by its id. Throws ImageError.
 */
export function areasOf(
  name: string,
  mm: mm_entry,
  pathOf: (file: number) => string | undefined,
): AreaSummary[] {
  const own = mm.vmas.filter((vma) => (vma.status & AREA_VSYSCALL) === 0);
  return own.map((vma) => {
    const kind = areaKind(vma, mm.mmStartStack);
    const isFile = (vma.status & (AREA_FILE_PRIVATE | AREA_FILE_SHARED)) !== 0;
    const object = isFile || kind === 'shared' || kind === 'sysv' ? toAddress(vma.shmid, name) : undefined;
    const path = isFile && object !== undefined ? pathOf(object) : undefined;
    return {
      start: toAddress(vma.start, name),
      end: toAddress(vma.end, name),
      prot: vma.prot,
      flags: vma.flags,
      kind,
      offset: toAddress(vma.pgoff, name),
      ...(path !== undefined && { path }),
      ...(object !== undefined && { object }),
    };
  });
}

/** Returns the message of a process's memory, undefined for a zombie. */
export function memoryOf(image: ImageDirectory, pid: number): { name: string; mm: mm_entry } | undefined {
  const name = `mm-${pid}.img`;
  const mm = image.entries('mm', name)[0]?.message;
  return mm && { name, mm };
}

const KIND_BITS: readonly (readonly [number, AreaKind])[] = [
  [AREA_GUARD, 'guard'],
  [AREA_VDSO, 'vdso'],
  [AREA_VVAR, 'vvar'],
  [AREA_HEAP, 'heap'],
  [AREA_AIO, 'aio'],
  [AREA_SYSV, 'sysv'],
  [AREA_MEMFD, 'memfd'],
  [AREA_FILE_SHARED, 'file-shared'],
  [AREA_FILE_PRIVATE, 'file'],
  [AREA_ANON_SHARED, 'shared'],
  [AREA_STACK, 'stack'],
];

function areaKind(vma: vma_entry, stackPointer: bigint): AreaKind {
  for (const [bit, kind] of KIND_BITS) if ((vma.status & bit) !== 0) return kind;
  return vma.start <= stackPointer && stackPointer < vma.end ? 'stack' : 'anon';
}
