import { AREA_FILE_PRIVATE, PROT_EXEC } from '@forkpoint/image';
import type { ImageDirectory, PageRun, vma_entry } from '@forkpoint/image';
import type { PagesReader } from './chunks.ts';
import { findNote } from './note.ts';
import type { Note } from './note.ts';
import type { ProcessFacts } from './policy.ts';

/** What is known of the surroundings of an image. */
export interface LinkSurroundings {
  /** Where the layers are bound in the pod. */
  readonly layersPath: string;
  /** File name of the preload shim; a process that has not mapped it keeps its memory anonymous. */
  readonly shimName: string;
  /** Tells whether a mapped file holds code that makes system calls without the libc, past every preload. */
  readonly makesOwnCalls: (path: string) => boolean;
  /** Whether code may be mapped from page files: what holds the layers of runs is not mounted noexec. */
  readonly mayExecute: boolean;
}

/** glibc, whose own calls of madvise(2) and mremap(2) are known to do no harm; musl's are not. */
const GLIBC = /\/libc(-2\.\d+)?\.so(\.6)?$/;
/** Archives of classes, which the JVM maps privately and relocates. */
const ARCHIVE = /\.jsa$/;

/** Returns what the policy needs to know of one process of an image. Throws ImageError. */
export function factsOf(
  image: ImageDirectory,
  pid: number,
  threads: readonly number[],
  surroundings: LinkSurroundings,
): ProcessFacts {
  const mm = image.entries('mm', `mm-${pid}.img`)[0]?.message;
  const areas = mm?.vmas ?? [];
  const paths = pathsOf(image, areas);
  const loaded = new Set(
    areas.filter(({ prot }) => (prot & PROT_EXEC) !== 0).map(({ shmid }) => paths.get(Number(shmid))),
  );
  const mapped = [...paths.values()];
  const isLayer = (path: string): boolean => path.startsWith(`${surroundings.layersPath}/`);
  const steady = [...paths].filter(([, path]) => loaded.has(path) || ARCHIVE.test(path) || isLayer(path));
  return {
    stackPointers: [pid, ...threads].flatMap((thread) => {
      const pointer = image.entries('core', `core-${thread}.img`)[0]?.message.threadInfo?.gpregs?.sp;
      return pointer === undefined ? [] : [pointer];
    }),
    shown:
      mm === undefined
        ? []
        : [
            [mm.mmArgStart, mm.mmArgEnd],
            [mm.mmEnvStart, mm.mmEnvEnd],
          ],
    hasShim:
      mapped.some((path) => path.endsWith(`/${surroundings.shimName}`)) &&
      mapped.some((path) => GLIBC.test(path)),
    // Code that a compiler made while the program ran lies in page files, too.
    hasOwnCalls: [...loaded].some(
      (path) => path !== undefined && !isLayer(path) && surroundings.makesOwnCalls(path),
    ),
    mayExecute: surroundings.mayExecute,
    steadyFiles: new Set(steady.map(([id]) => id)),
  };
}

/**
 * Returns the note of the shim in a process; null when there is none. `read` reads its pages file, in which `runs` are
 * stored.
 */
export function noteOf(
  image: ImageDirectory,
  areas: readonly vma_entry[],
  runs: readonly PageRun[],
  shimName: string,
  read: PagesReader,
): Note | null {
  const paths = pathsOf(image, areas);
  const pathOf = ({ status, shmid }: vma_entry): string =>
    (status & AREA_FILE_PRIVATE) === 0 ? '' : (paths.get(Number(shmid)) ?? '');
  const note = findNote(
    areas.filter((area) => pathOf(area).endsWith(`/${shimName}`)),
    runs,
    read,
  );
  // With dlmopen(3) there are two of them, and each counts its own chunks.
  const libraries = areas.filter((area) => area.pgoff === 0n && GLIBC.test(pathOf(area)));
  return note === null || libraries.length === 1 ? note : { ...note, chunks: null };
}

/** Returns the ids of page files of earlier checkpoints. */
export function earlierLayers(
  image: ImageDirectory,
  areas: readonly vma_entry[],
  layersPath: string,
): Set<number> {
  return new Set(
    [...pathsOf(image, areas)].flatMap(([id, path]) => (path.startsWith(`${layersPath}/`) ? [id] : [])),
  );
}

/** Paths of the files that are mapped privately, by their id. */
function pathsOf(image: ImageDirectory, areas: readonly vma_entry[]): Map<number, string> {
  const ids = new Set(
    areas.filter(({ status }) => (status & AREA_FILE_PRIVATE) !== 0).map(({ shmid }) => Number(shmid)),
  );
  return new Map(
    image
      .entries('files', 'files.img')
      .flatMap(({ message: { id, reg } }) => (ids.has(id) && reg ? [[id, reg.name] as const] : [])),
  );
}
