import { areasOf, memoryOf, type AreaSummary } from './areas.ts';
import { FileTable, type DescriptorSummary } from './descriptors.ts';
import { ImageDirectory, type ImageSource } from './directory.ts';
import type { core_entry } from './gen/core_pb.ts';
import type { creds_entry } from './gen/creds_pb.ts';
import type { pstree_entry } from './gen/pstree_pb.ts';
import type { timespec } from './gen/timens_pb.ts';
import { kindOf } from './kinds.ts';
import { PAGE_IN_PARENT, PAGE_SIZE } from './pages.ts';
import { AREA_FILE_PRIVATE, AREA_FILE_SHARED } from './vma.ts';

/** States of a process in an image (compel/include/uapi/task-state.h). */
const TASK_DEAD = 2;
const TASK_STOPPED = 3;
const TASK_ZOMBIE = 6;
const MODE_TYPE = 0o170000;

/** Ids and capability sets of a process. */
export interface CredentialSummary {
  readonly uid: number;
  readonly gid: number;
  readonly groups: readonly number[];
  readonly capabilities: {
    readonly permitted: bigint;
    readonly effective: bigint;
    readonly inheritable: bigint;
    readonly bounding: bigint;
    readonly ambient: bigint;
  };
  readonly isNoNewPrivileges: boolean;
}

/** One process of an image. */
export interface ProcessSummary {
  readonly pid: number;
  /** 0 for the program's first process. */
  readonly ppid: number;
  readonly pgid: number;
  readonly sid: number;
  readonly comm: string;
  readonly state: 'running' | 'stopped' | 'zombie';
  /** Status as waitpid(2) gives it, for zombies: 9 is killed by SIGKILL, 768 is exit code 3. */
  readonly waitStatus?: number;
  /** Thread ids, the process's own first. */
  readonly threads: readonly number[];
  readonly areas: readonly AreaSummary[];
  /** Pages in the pages file and in the images of parents. */
  readonly dumped: { readonly pages: number; readonly bytes: number; readonly parentPages: number };
  readonly descriptors: readonly DescriptorSummary[];
  readonly cwd?: string;
  readonly root?: string;
  readonly exe?: string;
  readonly credentials?: CredentialSummary;
}

/** A file that has to exist when the image is restored. */
export interface FileSummary {
  readonly path: string;
  readonly kind: 'file' | 'directory' | 'fifo' | 'device' | 'socket';
  /** Bytes; undefined when the restore does not compare it. */
  readonly size?: number;
  /** Whether memory relies on what is in it: it is mapped, and not to be written through. */
  readonly isMapped: boolean;
  readonly isWritable: boolean;
}

/** What an image holds, for people and for the checks before a restore. */
export interface ImageSummary {
  readonly processes: readonly ProcessSummary[];
  readonly files: readonly FileSummary[];
  /**
   * The clocks as criu itself saw them at the dump (criu/timens.c), which are the program's when criu ran in the
   * program's time namespace. A rootless restore ignores them: whoever makes the time namespace has to use them.
   */
  readonly clocks?: { readonly monotonic: ClockSummary; readonly boottime: ClockSummary };
  /** Pages and bytes of all processes and of shared memory. */
  readonly dumped: { readonly pages: number; readonly bytes: number };
}

/** Value of a clock. */
export interface ClockSummary {
  readonly seconds: number;
  readonly nanoseconds: number;
}

/** Returns a summary of an image. Reads every file but the pages. Throws ImageError. */
export function summarize(source: ImageSource | ImageDirectory): ImageSummary {
  const image = source instanceof ImageDirectory ? source : new ImageDirectory(source);
  const table = new FileTable(image);
  const entries = image.require('pstree', 'pstree.img').entries;
  const processes = entries.map(({ message }) => summarizeProcess(image, table, message));
  const clocks = clocksOf(image);
  return {
    processes,
    files: filesOf(image, table),
    ...(clocks && { clocks }),
    dumped: dumpedIn(image),
  };
}

function summarizeProcess(image: ImageDirectory, table: FileTable, entry: pstree_entry): ProcessSummary {
  const { pid, ppid, pgid, sid } = entry;
  const core = image.entries('core', `core-${pid}.img`)[0]?.message;
  const memory = memoryOf(image, pid);
  const state = stateOf(core);
  const fs = image.entries('fs', `fs-${pid}.img`)[0]?.message;
  const optional = {
    cwd: fs && table.pathOf(fs.cwdId),
    root: fs && table.pathOf(fs.rootId),
    exe: memory && table.pathOf(memory.mm.exeFileId),
    credentials: core?.threadCore?.creds && credentialsOf(core.threadCore.creds),
    waitStatus: state === 'zombie' ? core?.tc?.exitCode : undefined,
  };
  return {
    pid,
    ppid,
    pgid,
    sid,
    comm: core?.tc?.comm ?? '',
    state,
    // CRIU 4.2 writes an arbitrary thread id for zombies.
    threads: state === 'zombie' ? [pid] : entry.threads,
    areas: memory ? areasOf(memory.name, memory.mm, (id) => table.pathOf(id)) : [],
    dumped: pagesIn(image, `pagemap-${pid}.img`),
    descriptors: descriptorsOf(image, table, pid),
    ...withoutUndefined(optional),
  };
}

type Defined<T> = { [Key in keyof T]?: Exclude<T[Key], undefined> };

function withoutUndefined<T extends object>(value: T): Defined<T> {
  // Dropping the entries whose value is undefined is what Defined says.
  return Object.fromEntries(Object.entries(value).filter(([, item]) => item !== undefined)) as Defined<T>;
}

function stateOf(core: core_entry | undefined): ProcessSummary['state'] {
  const state = core?.tc?.taskState;
  if (state === TASK_DEAD || state === TASK_ZOMBIE) return 'zombie';
  return state === TASK_STOPPED ? 'stopped' : 'running';
}

function descriptorsOf(image: ImageDirectory, table: FileTable, pid: number): DescriptorSummary[] {
  const ids = image.entries('ids', `ids-${pid}.img`)[0]?.message;
  if (!ids) return [];
  return image
    .entries('fdinfo', `fdinfo-${ids.filesId}.img`)
    .map(({ message }) => table.describe(message))
    .sort((one, other) => one.fd - other.fd);
}

function credentialsOf(creds: creds_entry): CredentialSummary {
  return {
    uid: creds.euid,
    gid: creds.egid,
    groups: creds.groups,
    capabilities: {
      permitted: joinWords(creds.capPrm),
      effective: joinWords(creds.capEff),
      inheritable: joinWords(creds.capInh),
      bounding: joinWords(creds.capBnd),
      ambient: joinWords(creds.capAmb),
    },
    isNoNewPrivileges: creds.noNewPrivs !== 0,
  };
}

function joinWords(words: readonly number[]): bigint {
  return words.reduce((sum, word, index) => sum | (BigInt(word) << BigInt(32 * index)), 0n);
}

function pagesIn(image: ImageDirectory, name: string): ProcessSummary['dumped'] {
  let pages = 0;
  let parentPages = 0;
  for (const run of image.pagemapRuns(name)?.runs ?? []) {
    if (run.firstPage !== undefined) pages += run.pageCount;
    else if ((run.flags & PAGE_IN_PARENT) !== 0) parentPages += run.pageCount;
  }
  return { pages, bytes: pages * PAGE_SIZE, parentPages };
}

function dumpedIn(image: ImageDirectory): ImageSummary['dumped'] {
  let pages = 0;
  for (const name of image.names) {
    if (kindOf(name) === 'pagemap') pages += pagesIn(image, name).pages;
  }
  return { pages, bytes: pages * PAGE_SIZE };
}

function filesOf(image: ImageDirectory, table: FileTable): FileSummary[] {
  const mapped = mappedFiles(image);
  // Files that CRIU saved because they have no name any more (deleted, or kept under another name) need not exist.
  const remapped = new Set(
    image.entries('remap-fpath', 'remap-fpath.img').map(({ message }) => message.origId),
  );
  const byPath = new Map<string, FileSummary>();
  for (const file of table.byId.values()) {
    if (!file.reg || remapped.has(file.id)) continue;
    const { name: path, flags, mode } = file.reg;
    const size = Object.hasOwn(file.reg, 'size') ? Number(file.reg.size) : undefined;
    const before = byPath.get(path);
    const known = size ?? before?.size;
    byPath.set(path, {
      path,
      kind: fileKind(mode),
      isMapped: mapped.has(file.id) || (before?.isMapped ?? false),
      isWritable: (flags & 3) !== 0 || (before?.isWritable ?? false),
      ...(known !== undefined && { size: known }),
    });
  }
  return [...byPath.values()];
}

function mappedFiles(image: ImageDirectory): Set<number> {
  const mapped = new Set<number>();
  for (const file of image.all('mm')) {
    for (const { message } of file.entries) {
      mapped.add(message.exeFileId);
      for (const vma of message.vmas) {
        // What is written through a mapping is everybody's, and changes at any time; as -shm of SQLite.
        const isLive = (vma.status & AREA_FILE_SHARED) !== 0 && ((vma.fdflags ?? 0) & 3) !== 0;
        const isFile = (vma.status & (AREA_FILE_PRIVATE | AREA_FILE_SHARED)) !== 0;
        if (isFile && !isLive) mapped.add(Number(vma.shmid));
      }
    }
  }
  return mapped;
}

function fileKind(mode: number): FileSummary['kind'] {
  switch (mode & MODE_TYPE) {
    case 0o040000:
      return 'directory';
    case 0o010000:
      return 'fifo';
    case 0o020000:
    case 0o060000:
      return 'device';
    case 0o140000:
      return 'socket';
    default:
      return 'file';
  }
}

function clocksOf(image: ImageDirectory): ImageSummary['clocks'] {
  const id = image.entries('inventory', 'inventory.img')[0]?.message.rootIds?.timeNsId;
  const own = image.entries('timens', `timens-${id ?? 0}.img`)[0];
  const entry = own ?? image.entries('timens', 'timens-0.img')[0] ?? image.all('timens')[0]?.entries[0];
  if (!entry?.message.monotonic || !entry.message.boottime) return undefined;
  return { monotonic: clock(entry.message.monotonic), boottime: clock(entry.message.boottime) };
}

function clock(time: timespec): ClockSummary {
  return { seconds: Number(time.tvSec), nanoseconds: Number(time.tvNsec) };
}
