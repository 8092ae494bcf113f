import { PAGE_SIZE } from '@forkpoint/image';
import type { PageRun, vma_entry } from '@forkpoint/image';
import type { MappedChunks, PagesReader } from './chunks.ts';
import { runsWithin } from './pieces.ts';

/** The note of the preload shim in the memory of a process (packages/launcher/shim/note.h). */
export interface Note {
  /** Address of the page that it lies in. */
  readonly page: number;
  /** Where its list of linked memory stands in the pages file, in bytes. */
  readonly offset: number;
  /** Where the shim looks whether memory is linked. */
  readonly watched: readonly AddressRange[];
  /** Glibc's mapped chunks as glibc counts them; null when the shim did not find the counters. */
  readonly chunks: MappedChunks | null;
}

/** Addresses, `to` exclusive. */
export type AddressRange = readonly [from: number, to: number];

/** Bytes that are written to a pages file. */
export interface Patch {
  readonly offset: number;
  readonly bytes: Uint8Array;
}

const MAGIC = 'forkpoint note 1';
/** The shim aligns it so that it never lies in two pages. */
const ALIGNMENT = 512;
const IS_READY = 16;
const CHUNKS = 24;
const CHUNK_BYTES = 32;
const RANGES = 40;
const LINKED = 48;
const RANGES_MAX = 16;
const NOTE_BYTES = LINKED + RANGES_MAX * 16;

/** Returns the note of a process, of which `areas` map the shim; null when there is none, or the shim had not come to write it. */
export function findNote(
  areas: readonly vma_entry[],
  runs: readonly PageRun[],
  read: PagesReader,
): Note | null {
  for (const area of areas) {
    for (const run of runsWithin(runs, area, 0).inside) {
      const bytes = Buffer.from(read(run.offset, run.pages * PAGE_SIZE));
      for (let at = 0; at + NOTE_BYTES <= bytes.length; at += ALIGNMENT) {
        if (bytes.toString('latin1', at, at + MAGIC.length) !== MAGIC) continue;
        if (bytes[at + IS_READY] !== 1) return null;
        return {
          page: run.address + at - (at % PAGE_SIZE),
          offset: run.offset + at + RANGES,
          watched: rangesOf(bytes.subarray(at, at + NOTE_BYTES)),
          chunks: chunksOf(bytes.subarray(at, at + NOTE_BYTES), runs, read),
        };
      }
    }
  }
  return null;
}

/** Returns what has to be written so that the shim of a restored process looks at these areas, and a bit more where they are many. */
export function notePatch(note: Note, areas: readonly vma_entry[]): Patch {
  const ranges = joined(
    areas.map(({ start, end }) => [start, end] as const),
    RANGES_MAX,
  );
  const bytes = Buffer.alloc(NOTE_BYTES - RANGES);
  bytes.writeBigUInt64LE(BigInt(ranges.length));
  ranges.forEach(([from, to], i) => {
    bytes.writeBigUInt64LE(from, LINKED - RANGES + i * 16);
    bytes.writeBigUInt64LE(to, LINKED - RANGES + i * 16 + 8);
  });
  return { offset: note.offset, bytes };
}

type Bounds = readonly [from: bigint, to: bigint];

/** Joins ranges, which are in order, where they touch, and across the smallest gaps until there are at most `most`. */
function joined(ranges: readonly Bounds[], most: number): Bounds[] {
  const touching: Bounds[] = [];
  for (const [from, to] of ranges) {
    const last = touching.at(-1);
    if (last !== undefined && last[1] >= from) touching[touching.length - 1] = [last[0], to];
    else touching.push([from, to]);
  }
  const gaps = touching.slice(1).map(([from], i) => from - (touching[i]?.[1] ?? 0n));
  const kept = new Set(
    gaps
      .map((_, i) => i)
      .sort((a, b) => Number((gaps[b] ?? 0n) - (gaps[a] ?? 0n)))
      .slice(0, most - 1),
  );
  const few: Bounds[] = [];
  touching.forEach(([from, to], i) => {
    const last = few.at(-1);
    if (last !== undefined && !kept.has(i - 1)) few[few.length - 1] = [last[0], to];
    else few.push([from, to]);
  });
  return few;
}

function rangesOf(note: Buffer): AddressRange[] {
  const count = Math.min(Number(note.readBigUInt64LE(RANGES)), RANGES_MAX);
  return Array.from({ length: count }, (_, i) => [
    Number(note.readBigUInt64LE(LINKED + i * 16)),
    Number(note.readBigUInt64LE(LINKED + i * 16 + 8)),
  ]);
}

/** Reads the counters, which the note only points to; null when they are not among the stored pages. */
function chunksOf(note: Buffer, runs: readonly PageRun[], read: PagesReader): MappedChunks | null {
  const count = bytesAt(Number(note.readBigUInt64LE(CHUNKS)), 4, runs, read);
  const bytes = bytesAt(Number(note.readBigUInt64LE(CHUNK_BYTES)), 8, runs, read);
  return count === null || bytes === null
    ? null
    : { count: count.readUInt32LE(), bytes: Number(bytes.readBigUInt64LE()) };
}

function bytesAt(
  address: number,
  length: number,
  runs: readonly PageRun[],
  read: PagesReader,
): Buffer | null {
  const run = runs.find((one) => one.address <= address && address < one.address + one.pageCount * PAGE_SIZE);
  if (run?.firstPage === undefined) return null;
  const bytes = Buffer.from(read(run.firstPage * PAGE_SIZE + address - run.address, length));
  return bytes.length === length ? bytes : null;
}

/** Whether the shim looks at all of an area. */
export function isWatched({ start, end }: vma_entry, watched: readonly AddressRange[]): boolean {
  return watched.some(([from, to]) => BigInt(from) <= start && end <= BigInt(to));
}
