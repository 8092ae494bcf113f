import { randomBytes } from 'node:crypto';
import { closeSync, openSync, readdirSync, readFileSync, readSync, statSync } from 'node:fs';
import { mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises';
import type { FileHandle } from 'node:fs/promises';
import { join } from 'node:path';
import type { Assembly, FlattenPlan, Fragmentation, RangeReader } from '@forkpoint/linker';
import { decodeRestorePlan, encodeRestorePlan, serializeManifest } from '@forkpoint/manifest';
import type { Manifest, ManifestLayer } from '@forkpoint/manifest';
import { DIGESTS_FILE } from './digests.ts';
import type { Digests } from './digests.ts';
import { goFinder } from './go.ts';
import { errnoOf, reasonOf, StoreError } from './error.ts';
import { guardedExchange } from './exchange.ts';
import { digestsAfter, digestsBefore, madeBy } from './flatten-digests.ts';
import { MANIFEST_FILE, readManifest, RESTORE_PLAN_FILE } from './images.ts';
import { linkOrCopy } from './link-or-copy.ts';
import { isNoexec } from './noexec.ts';
import { ownOwner } from './owner.ts';
import { PREFETCH_FILE, prefetchAfter } from './prefetch.ts';
import { discard, openDestination, publish } from './publish.ts';
import type { Destination, Exchange } from './publish.ts';

/** How an image is flattened. */
export interface FlattenOptions {
  /** Where the flattened image goes; in the place of the old one when absent. */
  readonly to?: string;
  /** Swaps two directories atomically. */
  readonly exchange: Exchange;
  /** The run that does it, for whoever cleans up after it; this process when absent. */
  readonly owner?: string;
  /** Says whether it is worth the copying, before anything is written; always when absent. */
  readonly isWorth?: (before: Fragmentation, after: Fragmentation) => boolean;
  /** Whether to wait for the disk; true when absent. */
  readonly sync?: boolean;
  /** How long the old directory is kept for restores that have begun to read it, in milliseconds; 0 when absent. */
  readonly graceMs?: number;
  /** Shortest run that is linked, in pages. */
  readonly threshold?: number;
  /** Directory of the runs, from which restores map page files: code is copied when that is mounted noexec, and mapped otherwise. */
  readonly runs?: string;
  /**
   * Compares what is read with the digests of the image, and puts those of the flattened one beside it; `memory` is that of
   * recordDigests. When absent the new image has none.
   */
  readonly digests?: { readonly memory?: string };
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: FlattenProgress) => void;
}

/** A step towards a flattened image. */
export interface FlattenProgress {
  readonly step: 'plan' | 'read' | 'copy' | 'publish';
  /** Bytes of page files that are compared or written, of all. */
  readonly done: number;
  readonly total: number;
}

/** What flattening came to. */
export interface Flattened {
  readonly image: string;
  readonly manifest: Manifest;
  /** False when `isWorth` said no: then nothing was changed. */
  readonly isFlattened: boolean;
  readonly before: Fragmentation;
  readonly after: Fragmentation;
  /** Bytes that were written or copied. */
  readonly bytes: number;
}

const SHIM = 'shim.so';
const LAYERS = 'layers';
const BLOCK = 1 << 20;
const FILE_MAX = 256 << 20;

/**
 * Moves the memory of an image to one page file per process, in the order of its addresses, so that a restore makes few
 * mappings and copies little, however many generations are behind it. The image keeps its id and its place in the lineage.
 * The new directory appears whole or not at all, nothing of the old one is changed, and one that somebody has replaced
 * meanwhile is left alone. Throws StoreError, ImageError and the reason of the signal, with nothing left behind; with
 * `digests` also ERR_FORKPOINT_DIGEST for an image that is damaged.
 */
export async function flatten(image: string, options: FlattenOptions): Promise<Flattened> {
  const { signal, onProgress } = options;
  const manifest = await readManifest(image);
  const identity = await stat(image);
  if (manifest.layers.some(({ compression }) => compression !== null)) {
    throw new StoreError(
      'ERR_FORKPOINT_FLATTEN',
      `${image} is compressed, and nothing can be mapped from it`,
      {
        hint: `Run \`forkpoint decompress ${image}\` first`,
      },
    );
  }
  onProgress?.({ step: 'plan', done: 0, total: 0 });
  const plan = await planOf(image, manifest, options);
  const { before, after } = plan;
  const common = { before, after, image: options.to ?? image };
  if (options.isWorth?.(before, after) === false)
    return { ...common, manifest, image, isFlattened: false, bytes: 0 };
  const digests = options.digests === undefined ? null : await checked(image, plan, options);
  signal?.throwIfAborted();
  const destination = await openDestination(options.to ?? image, options.owner ?? (await ownOwner()));
  try {
    const filled = await fill(image, destination.temporary, manifest, plan, options);
    if (options.digests !== undefined)
      await digestsAfter(destination.temporary, plan, digests, { ...options.digests, signal });
    signal?.throwIfAborted();
    onProgress?.({ step: 'publish', done: filled.bytes, total: filled.bytes });
    await publish(destination, {
      exchange: options.to === undefined ? guardedExchange(image, identity, options) : options.exchange,
      sync: options.sync !== false,
    });
    return {
      ...common,
      image: destination.path,
      manifest: filled.manifest,
      isFlattened: true,
      bytes: filled.bytes,
    };
  } catch (error) {
    await discard(destination);
    throw worded(error, destination);
  }
}

async function planOf(
  image: string,
  manifest: Manifest,
  { threshold, runs }: FlattenOptions,
): Promise<FlattenPlan> {
  // Loaded only here: the codec is the largest part of the bundle, and few commands need it.
  const { planFlattening } = await import('@forkpoint/linker');
  const unique = randomBytes(6).toString('hex');
  const open = new Map<string, number>();
  const read: RangeReader = (name, offset, length) => {
    const fd = open.get(name) ?? openSync(join(image, name), 'r');
    open.set(name, fd);
    const bytes = Buffer.allocUnsafe(length);
    return bytes.subarray(0, readSync(fd, bytes, 0, length, offset));
  };
  try {
    return planFlattening(
      {
        names: readdirSync(image).filter((name) => name.endsWith('.img')),
        size: (name) => statSync(join(image, name)).size,
        read: (name) => readWhole(join(image, name)),
      },
      read,
      (layer) => statSync(join(image, LAYERS, layer)).size,
      {
        layersPath: join(manifest.controlDirectory, LAYERS),
        layerName: (pid) => `${unique}-${pid}.pages`,
        shimName: SHIM,
        makesOwnCalls: goFinder(),
        mayExecute: runs === undefined || !isNoexec(runs),
        ...(threshold === undefined ? {} : { threshold }),
      },
    );
  } finally {
    for (const fd of open.values()) closeSync(fd);
  }
}

function readWhole(path: string): Uint8Array {
  if (statSync(path).size > FILE_MAX) throw new RangeError(`${path} is larger than ${FILE_MAX} bytes`);
  return readFileSync(path);
}

async function checked(image: string, plan: FlattenPlan, options: FlattenOptions): Promise<Digests | null> {
  const { signal, onProgress } = options;
  let [done, total] = [0, 0];
  return await digestsBefore(image, plan, {
    signal,
    onTotal: (bytes) => (total = bytes),
    onBytes: (bytes) => onProgress?.({ step: 'read', done: (done += bytes), total }),
  });
}

/** Fills the new directory and returns its manifest. */
async function fill(
  image: string,
  directory: string,
  manifest: Manifest,
  plan: FlattenPlan,
  options: FlattenOptions,
): Promise<{ manifest: Manifest; bytes: number }> {
  const total = plan.assemblies.reduce((sum, { size }) => sum + size, 0);
  let bytes = 0;
  const made = madeBy(plan);
  await mkdir(join(directory, LAYERS), { mode: 0o700 });
  for (const assembly of plan.assemblies) {
    await assemble(image, directory, assembly, options.signal, (written) => {
      bytes += written;
      options.onProgress?.({ step: 'copy', done: bytes, total });
    });
  }
  for (const [name, content] of plan.files) await writeFile(join(directory, name), content, { mode: 0o600 });
  for (const entry of await readdir(image, { withFileTypes: true })) {
    // The manifest and the plan are written anew, and other directories than that of the layers are none of ours.
    const isRewritten = [MANIFEST_FILE, RESTORE_PLAN_FILE, PREFETCH_FILE, DIGESTS_FILE].includes(entry.name);
    if (!entry.isFile() || made.has(entry.name) || isRewritten) continue;
    bytes += await linkOrCopy(join(image, entry.name), join(directory, entry.name));
  }
  for (const { file } of manifest.layers) {
    const isUnused = plan.unused.includes(file.slice(LAYERS.length + 1));
    if (!file.startsWith(`${LAYERS}/`) || isUnused) continue;
    bytes += await linkOrCopy(join(image, file), join(directory, file));
  }
  const layers = await layersOf(directory, manifest, made);
  const flat = { ...manifest, layers };
  await writePlans(image, directory, flat, plan);
  return { manifest: flat, bytes };
}

/** Writes manifest, restore plan and, of a trained image, what a restore reads ahead. */
async function writePlans(
  image: string,
  directory: string,
  manifest: Manifest,
  plan: FlattenPlan,
): Promise<void> {
  const old = decodeRestorePlan(await readFile(join(image, RESTORE_PLAN_FILE)));
  const parts = await Promise.all(
    old.parts.map(async ({ name }) => ({ name, size: (await stat(join(directory, name))).size })),
  );
  const layers = manifest.layers
    .filter(({ file }) => file.startsWith(`${LAYERS}/`))
    .map(({ file, size }) => ({ name: file.slice(LAYERS.length + 1), size }));
  await writeFile(join(directory, MANIFEST_FILE), serializeManifest(manifest), { mode: 0o600 });
  const { mapsCode } = plan;
  const bytes = encodeRestorePlan({ ...old, parts, layers, mapsCode });
  await writeFile(join(directory, RESTORE_PLAN_FILE), bytes, { mode: 0o600 });
  const prefetch = await prefetchAfter(image, plan.assemblies);
  if (prefetch !== undefined) await writeFile(join(directory, PREFETCH_FILE), prefetch, { mode: 0o600 });
}

async function layersOf(
  directory: string,
  manifest: Manifest,
  made: ReadonlySet<string>,
): Promise<ManifestLayer[]> {
  const names = await readdir(join(directory, LAYERS));
  const files = (await readdir(directory))
    .filter((name) => /^pages-\d+\.img$/.test(name))
    .concat(names.map((name) => `${LAYERS}/${name}`));
  return await Promise.all(
    files.map(async (file) => {
      const known = made.has(file) ? undefined : manifest.layers.find((layer) => layer.file === file);
      if (known !== undefined) return known;
      const { size } = await stat(join(directory, file));
      return { file, size, pages: Math.ceil(size / 4096), compression: null, storedSize: size, sha256: null };
    }),
  );
}

/** Writes one file from the ranges that it consists of. */
async function assemble(
  image: string,
  directory: string,
  assembly: Assembly,
  signal: AbortSignal | undefined,
  onWritten: (bytes: number) => void,
): Promise<void> {
  const sources = new Map<string, FileHandle>();
  const target = await open(join(directory, assembly.file), 'wx', 0o600);
  try {
    const writer = new BlockWriter(target, onWritten);
    for (const { file, offset, length } of assembly.extents) {
      const source = sources.get(file) ?? (await open(join(image, file), 'r'));
      sources.set(file, source);
      for (let done = 0; done < length;) {
        signal?.throwIfAborted();
        done += await writer.take(source, offset + done, length - done);
      }
    }
    await writer.flush();
  } finally {
    await target.close();
    for (const source of sources.values()) await source.close();
  }
}

/** Collects small ranges, so that a page file of thousands of pieces is not written in as many calls. */
class BlockWriter {
  readonly #target: FileHandle;
  readonly #onWritten: (bytes: number) => void;
  readonly #block = Buffer.allocUnsafe(BLOCK);
  #filled = 0;

  constructor(target: FileHandle, onWritten: (bytes: number) => void) {
    this.#target = target;
    this.#onWritten = onWritten;
  }

  /** Takes at most `length` bytes of a source and returns how many; throws at its end. */
  async take(source: FileHandle, offset: number, length: number): Promise<number> {
    const wanted = Math.min(length, BLOCK - this.#filled);
    const { bytesRead } = await source.read(this.#block, this.#filled, wanted, offset);
    if (bytesRead === 0) throw new RangeError(`a page file ends at ${offset}, before a range that is mapped`);
    this.#filled += bytesRead;
    if (this.#filled === BLOCK) await this.flush();
    return bytesRead;
  }

  async flush(): Promise<void> {
    for (let done = 0; done < this.#filled;) {
      const { bytesWritten } = await this.#target.write(this.#block, done, this.#filled - done);
      done += bytesWritten;
    }
    this.#onWritten(this.#filled);
    this.#filled = 0;
  }
}

/** System errors get words; those of our packages and an abort have theirs. */
function worded(error: unknown, { path }: Destination): unknown {
  const errno = errnoOf(error);
  if (errno === undefined || error instanceof StoreError || !/^E[A-Z0-9]+$/.test(errno)) return error;
  return new StoreError(
    'ERR_FORKPOINT_FLATTEN',
    `the flattened image for ${path} cannot be written: ${reasonOf(error)}`,
    {
      ...(errno === 'ENOSPC' ? { hint: 'Make room there; the image is as it was' } : {}),
      cause: error,
    },
  );
}
