import { promisify } from 'node:util';
import zlib from 'node:zlib';
import { StoreError } from './error.ts';

/**
 * Compresses and decompresses one chunk in a thread; both throw ERR_FORKPOINT_CODEC on damaged input and have the length they
 * are told as limit. What they return may be a part of `target`; source and target are left alone until then.
 */
export interface Codec {
  readonly name: string;
  readonly compress: (source: Uint8Array, level: number, target?: Uint8Array) => Promise<Uint8Array>;
  readonly decompress: (source: Uint8Array, length: number, target?: Uint8Array) => Promise<Uint8Array>;
}

/** Longest frame that zstd makes of so many bytes (ZSTD_compressBound). */
export function packedBound(length: number): number {
  return length + (length >> 8) + 128;
}

/** Level 1: on a warm Express image 3 % larger than level 3, and a third faster (bench/NOTES.md). */
export const LEVEL = 1;

interface Addon {
  readonly compress: (source: Uint8Array, target: Uint8Array, level: number) => Promise<number>;
  readonly decompress: (source: Uint8Array, target: Uint8Array) => Promise<number>;
}

/**
 * Returns zstd: the machine's libzstd by the addon at `path`, which is the fastest and serves every Node.js version; else
 * that of node:zlib, which exists since 22.15. Throws ERR_FORKPOINT_CODEC when there is neither.
 */
export function loadCodec(path: string): Codec {
  const addon = loadAddon(path);
  if (addon !== undefined) return ofAddon(addon);
  // The types say that it is always there.
  if (typeof zlib.zstdCompressSync === 'function') return ofNode();
  throw new StoreError(
    'ERR_FORKPOINT_CODEC',
    `this machine has no libzstd.so.1, and Node.js ${process.version} no zstd`,
    {
      hint: 'Install the package libzstd1, or use Node.js 22.15 or newer',
    },
  );
}

function ofAddon(addon: Addon): Codec {
  return {
    name: 'libzstd',
    compress: async (source, level, target = new Uint8Array(packedBound(source.length))) =>
      target.subarray(0, await addon.compress(source, target, level)),
    decompress: async (source, length, target = new Uint8Array(length)) => {
      const count = await orDamaged(addon.decompress(source, target.subarray(0, length)));
      return checked(target.subarray(0, count), length);
    },
  };
}

function ofNode(): Codec {
  const { ZSTD_c_compressionLevel: levelKey, ZSTD_c_checksumFlag: checksumKey } = zlib.constants;
  const [compress, decompress] = [promisify(zlib.zstdCompress), promisify(zlib.zstdDecompress)];
  return {
    name: 'node:zlib',
    compress: async (source, level) =>
      await compress(source, { params: { [levelKey]: level, [checksumKey]: 1 } }),
    decompress: async (source, length) =>
      checked(await orDamaged(decompress(source, { maxOutputLength: length })), length),
  };
}

async function orDamaged<T>(result: Promise<T>): Promise<T> {
  try {
    return await result;
  } catch (cause) {
    throw new StoreError('ERR_FORKPOINT_CODEC', `a chunk is damaged: ${String(cause)}`, { cause });
  }
}

function checked(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new StoreError('ERR_FORKPOINT_CODEC', `a chunk holds ${bytes.length} bytes instead of ${length}`);
}

/** Loaded once: it keeps zstd's contexts for the next chunk. */
const loaded = new Map<string, Addon | undefined>();

function loadAddon(path: string): Addon | undefined {
  if (!loaded.has(path)) loaded.set(path, openAddon(path));
  return loaded.get(path);
}

function openAddon(path: string): Addon | undefined {
  const module: { exports: unknown } = { exports: {} };
  try {
    process.dlopen(module, path);
  } catch {
    // It was not built, or the machine has no libzstd.so.1: node:zlib may serve.
    return undefined;
  }
  const { exports } = module;
  if (typeof exports !== 'object' || exports === null) return undefined;
  // The addon of this package, whose two functions are checked here.
  const addon = exports as Partial<Addon>;
  return typeof addon.compress === 'function' && typeof addon.decompress === 'function'
    ? { compress: addon.compress, decompress: addon.decompress }
    : undefined;
}
