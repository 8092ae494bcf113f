import {
  decodePrefetchPlan,
  decodeRestorePlan,
  encodeRestorePlan,
  ManifestError,
  parseManifest,
  restorePlanOf,
  serializeManifest,
} from '@forkpoint/manifest';
import { sample } from '../../manifest/test/sample.ts';
import { loadCodec } from '../src/codec.ts';
import { StoreError } from '../src/error.ts';
import { decodeSeekTable, encodeSeekTable } from '../src/seek-table.ts';

/** What is fuzzed: bytes that are right, and who reads them. */
interface Target {
  readonly bytes: Uint8Array;
  readonly read: (bytes: Uint8Array) => Promise<void> | void;
}

/** A reader that needs this long for a few kilobytes hangs. */
const LONGEST_MS = 2000;
/** A reader that needs this much memory at once for a few kilobytes is not bounded. */
const LARGEST_BYTES = 512 << 20;

/** Returns the readers of the store's own formats, each with a file as it is written. `addon` is the codec's. */
export async function fuzzTargets(addon: string): Promise<Readonly<Record<string, Target>>> {
  const codec = loadCodec(addon);
  const text = new TextEncoder();
  const plan = restorePlanOf(sample, {
    pidBase: 6000,
    locks: [{ path: '/a.lock', kind: 'flock', isExclusive: true, start: 0, length: 0 }],
    parts: [{ name: 'pages-1.img', size: 4096 }],
    blocked: ['members/50/outcome'],
    reads: [],
    terminal: null,
    hasIpcObjects: false,
    criu: ['--file-locks'],
  });
  const table = encodeSeekTable([
    { packed: 100, raw: 1 << 20 },
    { packed: 50, raw: 4096 },
  ]);
  const content = new Uint8Array(20_000).map((_, index) => (index * index) >> 7);
  return {
    manifest: {
      bytes: text.encode(serializeManifest(sample)),
      read: (bytes) => void parseManifest(new TextDecoder().decode(bytes)),
    },
    plan: {
      bytes: encodeRestorePlan(plan),
      read: (bytes) => {
        const again = encodeRestorePlan(decodeRestorePlan(bytes));
        decodeRestorePlan(again);
      },
    },
    'prefetch plan': { bytes: encodeRestorePlan(plan), read: (bytes) => void decodePrefetchPlan(bytes) },
    'seek table': {
      bytes: table,
      read: (bytes) => void decodeSeekTable(bytes, table.length + 150, (1 << 20) + 4096),
    },
    codec: {
      bytes: await codec.compress(content, 1),
      read: async (bytes) => void (await codec.decompress(bytes, content.length)),
    },
  };
}

/** Feeds mutations to a reader for some time. Throws when it throws anything but our errors, takes too long or too much memory; the error names seed and input. */
export async function fuzzTarget(
  { bytes, read }: Target,
  { seed, seconds }: { readonly seed: number; readonly seconds: number },
): Promise<{ runs: number; refused: number }> {
  const random = generator(seed);
  const end = performance.now() + seconds * 1000;
  let [runs, refused] = [0, 0];
  while (performance.now() < end) {
    const input = mutated(bytes, random);
    const started = performance.now();
    const before = process.memoryUsage().rss;
    runs++;
    try {
      await read(input);
    } catch (error) {
      const isOurs =
        error instanceof ManifestError ||
        error instanceof StoreError ||
        (error instanceof Error && 'code' in error && error.code === 'ERR_FORKPOINT_CODEC');
      if (!isOurs) throw failure(seed, runs, input, error);
      refused++;
    }
    if (performance.now() - started > LONGEST_MS) throw failure(seed, runs, input, 'it took too long');
    if (process.memoryUsage().rss - before > LARGEST_BYTES)
      throw failure(seed, runs, input, 'it took too much memory');
  }
  return { runs, refused };
}

function mutated(original: Uint8Array, random: () => number): Uint8Array {
  let bytes = Uint8Array.from(original);
  const pick = (limit: number): number => Math.floor(random() * limit);
  for (let round = 1 + pick(4); round > 0; round--) {
    const [at, length] = [pick(bytes.length), pick(24)];
    const kind = pick(6);
    if (kind === 0) bytes[at] = (bytes[at] ?? 0) ^ (1 << pick(8));
    else if (kind === 1) bytes[at] = [0, 0x2d, 0x39, 0x22, 0xff][pick(5)] ?? 0;
    else if (kind === 2) bytes = bytes.slice(0, at + 1);
    else if (kind === 3) bytes = join(bytes.subarray(0, at), bytes.subarray(at + length));
    else if (kind === 4)
      bytes = join(bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at));
    // Digits that grow: lengths and counts become huge.
    else
      bytes = join(
        bytes.subarray(0, at),
        Uint8Array.from({ length }, () => 0x30 + pick(10)),
        bytes.subarray(at),
      );
    if (bytes.length === 0) bytes = Uint8Array.of(0);
  }
  return bytes;
}

function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}

function failure(seed: number, run: number, input: Uint8Array, cause: unknown): Error {
  return new Error(`seed ${seed}, run ${run}: ${Buffer.from(input).toString('base64').slice(0, 4000)}`, {
    cause,
  });
}

/** A small generator of numbers in [0, 1) that a seed repeats (mulberry32). */
function generator(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed = (mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)) ^ mixed;
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
