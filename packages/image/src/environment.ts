import { memoryOf } from './areas.ts';
import { ImageDirectory, type ImageSource } from './directory.ts';
import { ImageError } from './error.ts';
import { PAGE_SIZE, pageRuns, toAddress } from './pages.ts';
import { bytesToText } from './text.ts';

/** Reads `length` bytes at `offset` of a pages file; fewer at its end. */
export type PagesReader = (name: string, offset: number, length: number) => Uint8Array;

/** The kernel gives arguments and environment at most 6 MiB in all (fs/exec.c, a quarter of the largest stack). */
const LARGEST_ENVIRONMENT = 8 * 2 ** 20;
const NUL = 0;
const EQUALS = 0x3d;

/**
 * Returns the names of the environment variables a process was started with, in their order, without their values. They
 * are read from its memory, so a process that has written over that area (setproctitle) has fewer or none; pages that
 * are only in a parent image count as empty. Throws ImageError when the image has no such process.
 */
export function environmentNames(
  source: ImageSource | ImageDirectory,
  pid: number,
  readPages: PagesReader,
): string[] {
  const image = source instanceof ImageDirectory ? source : new ImageDirectory(source);
  const memory = memoryOf(image, pid);
  const pagemap = image.pagemap(`pagemap-${pid}.img`);
  if (!memory || !pagemap) {
    throw new ImageError(
      'ERR_FORKPOINT_IMAGE_MISSING',
      `mm-${pid}.img`,
      'the image has no memory of this process',
    );
  }
  const start = toAddress(memory.mm.mmEnvStart, memory.name);
  const end = toAddress(memory.mm.mmEnvEnd, memory.name);
  if (end < start || end - start > LARGEST_ENVIRONMENT) {
    const what = `an environment of ${end - start} bytes`;
    throw new ImageError('ERR_FORKPOINT_IMAGE_LIMIT', memory.name, what);
  }
  const bytes = new Uint8Array(end - start);
  const pages = `pages-${pagemap.head.pagesId}.img`;
  for (const run of pageRuns(pagemap)) {
    const from = Math.max(start, run.address);
    const to = Math.min(end, run.address + run.pageCount * PAGE_SIZE);
    if (from >= to || run.firstPage === undefined) continue;
    const found = readPages(pages, run.firstPage * PAGE_SIZE + from - run.address, to - from);
    bytes.set(found.subarray(0, to - from), from - start);
  }
  return namesIn(bytes);
}

function namesIn(bytes: Uint8Array): string[] {
  const names: string[] = [];
  for (let start = 0; start < bytes.length;) {
    const nul = bytes.indexOf(NUL, start);
    const end = nul < 0 ? bytes.length : nul;
    const equals = bytes.subarray(start, end).indexOf(EQUALS);
    if (equals > 0) names.push(bytesToText(bytes.subarray(start, start + equals)));
    start = end + 1;
  }
  return names;
}
