import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { open } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import type { CodecPool } from './codec-pool.ts';
import { StoreError } from './error.ts';
import { openRegular } from './read-file.ts';
import { CHUNK_BYTES, decodeSeekTable, encodeSeekTable, FOOTER_BYTES, seekTableBytes } from './seek-table.ts';
import type { Chunk } from './seek-table.ts';

/** How long work on files is watched and ended. */
export interface Watch {
  readonly signal?: AbortSignal | undefined;
  /** Called with bytes of content as they are done. */
  readonly onBytes?: ((bytes: number) => void) | undefined;
}

/** What became of a file that was packed or unpacked. */
export interface Packed {
  readonly rawSize: number;
  readonly packedSize: number;
  /** SHA-256 of the content, lower-case hex. */
  readonly sha256: string;
}

/** Packs a file into a new one, which must not exist. Throws system errors, and the reason of the signal; the caller removes what was made. */
export async function packFile(
  from: string,
  to: string,
  pool: CodecPool,
  watch: Watch = {},
): Promise<Packed> {
  const [source, target] = await openPair(from, to);
  try {
    const hash = createHash('sha256');
    const chunks: Chunk[] = [];
    let packedSize = 0;
    const { size } = await source.stat();
    await inOrder(Math.ceil(size / CHUNK_BYTES), pool.width, watch, {
      start: async (index) => {
        const offset = index * CHUNK_BYTES;
        const raw = Math.min(CHUNK_BYTES, size - offset);
        const room = pool.room();
        const bytes = room.source.subarray(0, raw);
        await readExactly(source, offset, bytes);
        hash.update(bytes);
        return { raw, done: room.compress(raw) };
      },
      finish: async ({ raw, done }) => {
        const bytes = await done;
        await writeAll(target, bytes, packedSize);
        packedSize += bytes.length;
        chunks.push({ packed: bytes.length, raw });
        watch.onBytes?.(raw);
      },
    });
    const table = encodeSeekTable(chunks);
    await writeAll(target, table, packedSize);
    return { rawSize: size, packedSize: packedSize + table.length, sha256: hash.digest('hex') };
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

/**
 * Unpacks a file of `rawSize` bytes into a new one. Throws ERR_FORKPOINT_CODEC when it is damaged or, with `sha256`, other
 * content comes out; system errors, and the reason of the signal. The caller removes what was made.
 */
export async function unpackFile(
  from: string,
  to: string,
  pool: CodecPool,
  options: Watch & { readonly rawSize: number; readonly sha256: string | null },
): Promise<void> {
  const [source, target] = await openPair(from, to);
  try {
    const chunks = await chunksOf(source, options.rawSize);
    const hash = createHash('sha256');
    let [offset, written] = [0, 0];
    await inOrder(chunks.length, pool.width, options, {
      start: async (index) => {
        const { packed = 0, raw = 0 } = chunks[index] ?? {};
        const at = offset;
        offset += packed;
        const room = pool.room();
        await readExactly(source, at, room.source.subarray(0, packed));
        return { raw, done: room.decompress(packed, raw) };
      },
      finish: async ({ raw, done }) => {
        const bytes = await done;
        hash.update(bytes);
        await writeAll(target, bytes, written);
        written += raw;
        options.onBytes?.(raw);
      },
    });
    if (options.sha256 !== null && hash.digest('hex') !== options.sha256)
      throw new StoreError('ERR_FORKPOINT_CODEC', `${from} is damaged: other content comes out than went in`);
  } catch (error) {
    if (!(error instanceof StoreError) || error.message.includes(from)) throw error;
    throw new StoreError('ERR_FORKPOINT_CODEC', `${from} cannot be unpacked: ${error.message}`, {
      hint: 'Look for a good copy with `forkpoint verify --repair`',
      cause: error,
    });
  } finally {
    await Promise.all([source.close(), target.close()]);
  }
}

/** Reads the seek table of an open packed file. Throws ERR_FORKPOINT_CODEC. */
export async function chunksOf(source: FileHandle, rawSize: number): Promise<Chunk[]> {
  const { size } = await source.stat();
  if (size < FOOTER_BYTES) throw new StoreError('ERR_FORKPOINT_CODEC', 'the packed file is cut short');
  const footer = await readExactly(source, size - FOOTER_BYTES, new Uint8Array(FOOTER_BYTES));
  const length = seekTableBytes(footer);
  if (length > size) throw new StoreError('ERR_FORKPOINT_CODEC', 'the packed file is cut short');
  const table = await readExactly(source, size - length, new Uint8Array(length));
  return decodeSeekTable(table, size, rawSize);
}

async function openPair(from: string, to: string): Promise<[FileHandle, FileHandle]> {
  // A layer that is a link leads out of the image.
  const source = await openRegular(from, constants.O_NOFOLLOW);
  try {
    return [source, await open(to, 'wx', 0o600)];
  } catch (error) {
    await source.close();
    throw error;
  }
}

/** Starts work on items in order, at most `width` at once, and finishes them in order. */
async function inOrder<T extends { readonly done: Promise<unknown> }>(
  count: number,
  width: number,
  { signal }: Watch,
  work: { start: (index: number) => Promise<T>; finish: (item: T) => Promise<void> },
): Promise<void> {
  const under: T[] = [];
  try {
    for (let index = 0; index < count; index++) {
      signal?.throwIfAborted();
      const item = await work.start(index);
      // Its failure is met when it is its turn, and must not count as unhandled before.
      item.done.catch(() => undefined);
      under.push(item);
      if (under.length >= width) await finishFirst();
    }
    while (under.length > 0) await finishFirst();
  } finally {
    await Promise.allSettled(under.map(({ done }) => done));
  }

  async function finishFirst(): Promise<void> {
    const first = under.shift();
    if (first !== undefined) await work.finish(first);
  }
}

async function readExactly(source: FileHandle, offset: number, bytes: Uint8Array): Promise<Uint8Array> {
  for (let done = 0; done < bytes.length;) {
    const { bytesRead } = await source.read(bytes, done, bytes.length - done, offset + done);
    if (bytesRead === 0)
      throw new StoreError('ERR_FORKPOINT_CODEC', 'the file became shorter while it was read');
    done += bytesRead;
  }
  return bytes;
}

async function writeAll(target: FileHandle, bytes: Uint8Array, offset: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const { bytesWritten } = await target.write(bytes, done, bytes.length - done, offset + done);
    done += bytesWritten;
  }
}
