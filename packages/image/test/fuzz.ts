import { isDeepStrictEqual } from 'node:util';
import { decodeImage, encodeImage, ImageError, type ImageSource, pageRuns, summarize } from '../src/index.ts';
import { fixture, FIXTURES, withFiles } from './fixture.ts';

/** How long and from where to fuzz: until `seconds` have passed or `runs` files were tried, whichever comes first. */
export interface FuzzOptions {
  readonly seed: number;
  readonly seconds?: number;
  readonly runs?: number;
  /** Further functions that may throw nothing but ImageError on a mutated image. */
  readonly users?: readonly ((source: ImageSource) => unknown)[];
}

/** What a fuzz run did. */
export interface FuzzResult {
  readonly runs: number;
  readonly refused: number;
}

const LIMITS = { fileBytes: 2 ** 20, entryBytes: 2 ** 18, entries: 20_000, pages: 2 ** 24 };
/** A decoder that needs this much processor time for a file of a few kilobytes hangs. */
const LONGEST_MS = 2_000;
const COMMON_MAGIC = 0x54564319;
const INTERESTING = [0, 1, 0x7f, 0x80, 0xff];

/**
 * Feeds mutated files of recorded images to the codec and its users until the time is over. Throws when one of them
 * throws anything but ImageError, takes too long, or gives back other bytes than it read; the error names the seed.
 */
export function fuzzCodec(options: FuzzOptions): FuzzResult {
  const random = generator(options.seed);
  const images = FIXTURES.map((name) => snapshot(fixture(name)));
  const users = [summarize, ...(options.users ?? [])];
  const { seconds = Infinity, runs: mostRuns = Infinity } = options;
  const end = performance.now() + seconds * 1000;
  let runs = 0;
  let refused = 0;
  while (runs < mostRuns && performance.now() < end) {
    const image = pick(images, random);
    const name = pick(
      image.names.filter((item) => !item.startsWith('pages-')),
      random,
    );
    const bytes = mutate(image.read(name), pick(images, random), random);
    runs++;
    const started = process.cpuUsage();
    try {
      roundTrip(name, bytes);
      // Whole images are a hundred times slower than one file, so not every mutation gets there.
      if (random() < 0.05)
        for (const user of users) refuseOnly(user, withFiles(image, new Map([[name, bytes]])));
    } catch (error) {
      if (!(error instanceof ImageError)) throw failure(options.seed, runs, name, bytes, error);
      refused++;
    }
    const { user, system } = process.cpuUsage(started);
    const spentMs = (user + system) / 1000;
    if (spentMs > LONGEST_MS) throw failure(options.seed, runs, name, bytes, `it took ${spentMs} ms`);
  }
  return { runs, refused };
}

function roundTrip(name: string, bytes: Uint8Array): void {
  const value = decodeImage(name, bytes, LIMITS);
  const again = decodeImage(name, encodeImage(value), LIMITS);
  if (!isDeepStrictEqual(again, value)) throw new Error('the value changes when it is encoded and decoded');
  if (value.kind === 'pagemap') pageRuns(value, LIMITS.pages);
}

function refuseOnly(user: (source: ImageSource) => unknown, source: ImageSource): void {
  try {
    user(source);
  } catch (error) {
    if (!(error instanceof ImageError)) throw error;
  }
}

function failure(seed: number, run: number, name: string, bytes: Uint8Array, cause: unknown): Error {
  const base64 = Buffer.from(bytes).toString('base64');
  return new Error(`seed ${seed}, run ${run}: ${name} ${base64}`, { cause });
}

/** Reads all files once, so that the fuzzer does no input of its own. */
function snapshot(
  source: Required<Omit<ImageSource, 'readRange'>>,
): Required<Omit<ImageSource, 'readRange'>> {
  const files = source.names.filter((name) => !name.startsWith('pages-'));
  return withFiles(source, new Map(files.map((name) => [name, source.read(name)])));
}

/** Mutates a whole file, or one message of it under a length that is right, so that the change gets past the frames. */
function mutate(original: Uint8Array, other: ImageSource, random: () => number): Uint8Array {
  const frames = random() < 0.7 ? framesOf(original) : [];
  if (frames.length === 0) return scramble(original, other, random);
  const { start, end } = pick(frames, random);
  let message = original.slice(start, end);
  if (random() < 0.3) message = scramble(message, other, random);
  else message[Math.floor(random() * message.length)] = Math.floor(random() * 256);
  const length = new Uint8Array(4);
  new DataView(length.buffer).setUint32(0, message.length, true);
  return join(original.subarray(0, start - 4), length, message, original.subarray(end));
}

/** Finds the messages of a file; payloads between them are taken for messages, which does no harm here. */
function framesOf(bytes: Uint8Array): { start: number; end: number }[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const frames: { start: number; end: number }[] = [];
  let start = bytes.length > 8 && view.getUint32(0, true) === COMMON_MAGIC ? 12 : 8;
  while (start <= bytes.length) {
    const end = start + view.getUint32(start - 4, true);
    if (end > bytes.length) break;
    if (end > start) frames.push({ start, end });
    start = end + 4;
  }
  return frames;
}

function scramble(original: Uint8Array, other: ImageSource, random: () => number): Uint8Array<ArrayBuffer> {
  let bytes = new Uint8Array(original);
  const rounds = 1 + Math.floor(random() * 4);
  for (let round = 0; round < rounds; round++) {
    const at = Math.floor(random() * bytes.length);
    const length = Math.floor(random() * 16);
    switch (Math.floor(random() * 7)) {
      case 0:
        bytes[at] = (bytes[at] ?? 0) ^ (1 << Math.floor(random() * 8));
        break;
      case 1:
        bytes[at] = pick(INTERESTING, random);
        break;
      case 2:
        bytes = bytes.slice(0, at);
        break;
      case 3:
        bytes = join(bytes.subarray(0, at), bytes.subarray(at + length));
        break;
      case 4:
        bytes = join(bytes.subarray(0, at), bytes.subarray(at, at + length), bytes.subarray(at));
        break;
      case 5:
        bytes.fill(0xff, at, at + 5);
        break;
      default: {
        const names = other.names.filter((name) => !name.startsWith('pages-'));
        const donor = other.read(pick(names, random));
        const from = Math.floor(random() * donor.length);
        bytes = join(bytes.subarray(0, at), donor.subarray(from, from + length * 4), bytes.subarray(at));
      }
    }
  }
  return bytes;
}

function join(...parts: Uint8Array[]): Uint8Array<ArrayBuffer> {
  return new Uint8Array(Buffer.concat(parts));
}

function pick<T>(items: readonly T[], random: () => number): T {
  const item = items[Math.floor(random() * items.length)];
  if (item === undefined) throw new Error('nothing to pick from');
  return item;
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
