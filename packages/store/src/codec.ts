import zlib from 'node:zlib';
import { StoreError } from './error.ts';

/** Compresses and decompresses one chunk; both throw on damaged input and have the length they are told as limit. */
export interface Codec {
  readonly name: string;
  readonly compress: (source: Uint8Array, level: number) => Uint8Array;
  readonly decompress: (source: Uint8Array, length: number) => Uint8Array;
}

/** Level 1: on a warm Express image 3 % larger than level 3, and a third faster (bench/NOTES.md). */
export const LEVEL = 1;

interface Addon {
  readonly compress: (source: Uint8Array, target: Uint8Array, level: number) => number;
  readonly decompress: (source: Uint8Array, target: Uint8Array) => number;
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
    compress: (source, level) => {
      // ZSTD_compressBound for a chunk.
      const target = new Uint8Array(source.length + (source.length >> 8) + 128);
      return target.subarray(0, addon.compress(source, target, level));
    },
    decompress: (source, length) => {
      const target = new Uint8Array(length);
      return checked(target.subarray(0, addon.decompress(source, target)), length);
    },
  };
}

function ofNode(): Codec {
  const { ZSTD_c_compressionLevel: levelKey, ZSTD_c_checksumFlag: checksumKey } = zlib.constants;
  return {
    name: 'node:zlib',
    compress: (source, level) =>
      zlib.zstdCompressSync(source, { params: { [levelKey]: level, [checksumKey]: 1 } }),
    decompress: (source, length) => {
      try {
        return checked(zlib.zstdDecompressSync(source, { maxOutputLength: length }), length);
      } catch (cause) {
        if (cause instanceof StoreError) throw cause;
        throw new StoreError('ERR_FORKPOINT_CODEC', `a chunk is damaged: ${String(cause)}`, { cause });
      }
    },
  };
}

function checked(bytes: Uint8Array, length: number): Uint8Array {
  if (bytes.length === length) return bytes;
  throw new StoreError('ERR_FORKPOINT_CODEC', `a chunk holds ${bytes.length} bytes instead of ${length}`);
}

function loadAddon(path: string): Addon | undefined {
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
