import { availableParallelism } from 'node:os';
import { LEVEL, loadCodec, packedBound } from './codec.ts';
import type { Codec } from './codec.ts';
import { CHUNK_BYTES } from './seek-table.ts';

/** Compresses and decompresses chunks, several at once. */
export interface CodecPool {
  /** Chunks that may be under way at once without one waiting for another. */
  readonly width: number;
  /** Returns room for a chunk. It is used again after `width` calls: whoever has it must be done with it by then. */
  room(): Room;
}

/** Room for one chunk, packed and not. Memory that is new for each chunk would cost more than unpacking it (bench/NOTES.md). */
export interface Room {
  /** Where the bytes to be packed or unpacked are put, from the beginning. */
  readonly source: Uint8Array;
  /** Packs the first `length` bytes of the source. The result may lie in the room. */
  compress(length: number): Promise<Uint8Array>;
  /** Unpacks the first `length` bytes of the source, which make `rawLength` bytes. Throws ERR_FORKPOINT_CODEC. */
  decompress(length: number, rawLength: number): Promise<Uint8Array>;
}

/** Threads that libuv has for such work (UV_THREADPOOL_SIZE): four pack faster than one hashes. */
const MAX_THREADS = 4;
/** Rooms for each thread: one is filled or emptied while the other is worked on. */
const ROOMS = 2;

/** Returns a pool for so many chunks. Throws ERR_FORKPOINT_CODEC when there is no zstd; `addon` is the path of that of set-up. */
export function openCodecPool(addon: string, chunks: number): CodecPool {
  const codec = loadCodec(addon);
  const width = Math.max(1, Math.min(availableParallelism() * ROOMS, MAX_THREADS * ROOMS, chunks));
  const rooms: Room[] = [];
  let next = 0;
  return { width, room: () => (rooms[next++ % width] ??= roomFor(codec)) };
}

function roomFor(codec: Codec): Room {
  const source = new Uint8Array(packedBound(CHUNK_BYTES));
  const target = new Uint8Array(packedBound(CHUNK_BYTES));
  return {
    source,
    compress: async (length) => await codec.compress(source.subarray(0, length), LEVEL, target),
    decompress: async (length, rawLength) =>
      await codec.decompress(source.subarray(0, length), rawLength, target),
  };
}
