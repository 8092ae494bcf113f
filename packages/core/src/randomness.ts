import * as fs from 'node:fs';

import { CoreError } from './errors.ts';
import { RandomPools } from './pools.ts';

/** Reseeds every random generator of the calling thread that JavaScript can reach. */
export interface Reseeder {
  /** Reseeds what belongs to the whole process (OpenSSL); the main thread calls it before any thread's `thread`. */
  process(): void;
  /** Reseeds what belongs to the calling thread: caches of node:crypto, pools of libraries, Math.random, dns query ids. */
  thread(): void;
}

/** What a Reseeder is made from. */
export interface ReseederOptions {
  /** Directory of reseed.node; without it OpenSSL cannot be reseeded. */
  nativeDirectory: string | undefined;
  /** Keeps V8's Math.random, which is then replaced at every reseed. */
  keepsNativeMathRandom: boolean;
}

/** node:crypto caches 128 random UUIDs (lib/internal/crypto/random.js, kBatchSize). */
const UUID_CACHE = 128;
/** node:crypto caches 6 KiB for randomInt, 6 bytes for each small value (same file, randomCache). */
const RANDOM_INT_CACHE = 1024;
/** Draws of the native Math.random that are thrown away at most, so that captured references go apart. */
const MAX_BURN = 65_536;
const DNS_RETRY_MS = 100;
const DNS_RETRIES = 50;

const { setTimeout: startTimer } = globalThis;

/**
 * Prepares the calling thread for reseeding. Must run before any code of the program, so that a reference to
 * Math.random which the program keeps is a reseedable one.
 */
export function createReseeder(options: ReseederOptions): Reseeder {
  const reseedMathRandom = options.keepsNativeMathRandom ? replaceNativeMathRandom : installMathRandom();
  const pools = new RandomPools();
  pools.watch();
  return {
    process: () => reseedOpenssl(options.nativeDirectory),
    thread: () => {
      dropCryptoCaches();
      pools.refill();
      reseedMathRandom();
      renewDnsChannel(DNS_RETRIES);
    },
  };
}

/** Makes OpenSSL reseed from the kernel; throws CoreError ERR_FORKPOINT_RESEED when it cannot. */
export function reseedOpenssl(nativeDirectory: string | undefined): void {
  // Without node:crypto and TLS in this build of Node there is nothing to reseed.
  if (process.versions['openssl'] === undefined) return;
  if (nativeDirectory === undefined || nativeDirectory === '') {
    throw new CoreError('ERR_FORKPOINT_RESEED', 'FORKPOINT_NATIVE is not set, so OpenSSL cannot be reseeded');
  }
  const path = `${nativeDirectory}/reseed.node`;
  try {
    // Every dlopen of the addon calls RAND_poll once; the file is read the first time only.
    process.dlopen({ exports: {} }, path);
  } catch (cause) {
    throw new CoreError('ERR_FORKPOINT_RESEED', `OpenSSL was not reseeded: ${path} does not load`, { cause });
  }
}

/** Returns `count` random 32-bit integers from the kernel; node:crypto would still give every clone the same ones. */
export function kernelSeed(count: number): Int32Array {
  const bytes = new Uint8Array(count * 4);
  const fd = fs.openSync('/dev/urandom', fs.constants.O_RDONLY);
  try {
    let filled = 0;
    while (filled < bytes.length) {
      const got = fs.readSync(fd, bytes, filled, bytes.length - filled, null);
      if (got === 0) throw new CoreError('ERR_FORKPOINT_RESEED', '/dev/urandom ended');
      filled += got;
    }
  } finally {
    fs.closeSync(fd);
  }
  return new Int32Array(bytes.buffer);
}

/**
 * Returns a random function with 53 bits per value and the function that seeds it with four 32-bit integers.
 * The generator is Doty-Humphrey's sfc32 (128 bits of state, passes PractRand and BigCrush), two steps per value.
 */
export function createGenerator(): { random: () => number; seed: (state: Int32Array) => void } {
  // Variables of a closure, and integers throughout: faster than a typed array, 1.3 times the native function.
  let a = 0;
  let b = 0;
  let c = 0;
  let counter = 1;
  // A method has no prototype and cannot be called with `new`, like the native function.
  const methods = {
    random(this: void): number {
      const high = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + high) | 0;
      const low = (((a + b) | 0) + counter) | 0;
      counter = (counter + 1) | 0;
      a = b ^ (b >>> 9);
      b = (c + (c << 3)) | 0;
      c = (((c << 21) | (c >>> 11)) + low) | 0;
      return ((high >>> 5) * 0x400_0000 + (low >>> 6)) / 0x20_0000_0000_0000;
    },
  };
  const seed = (state: Int32Array): void => {
    [a = 0, b = 0, c = 0, counter = 1] = state;
    // The first values after seeding are correlated with the seed; the author of sfc32 skips 12.
    for (let step = 0; step < 12; step++) methods.random();
  };
  return { random: methods.random, seed };
}

function installMathRandom(): () => void {
  const { random, seed } = createGenerator();
  seed(kernelSeed(4));
  // The same property attributes as the native function has (ECMA-262, 18 "built-in functions").
  Object.defineProperty(Math, 'random', {
    value: random,
    writable: true,
    enumerable: false,
    configurable: true,
  });
  return () => seed(kernelSeed(4));
}

function replaceNativeMathRandom(): void {
  const v8 = process.getBuiltinModule('node:v8');
  const vm = process.getBuiltinModule('node:vm');
  const [flag = 1, burn = 0] = kernelSeed(2);
  // References that the program took before keep the old state; different numbers of draws move clones apart.
  const old = Math.random;
  for (let draw = (burn >>> 0) % MAX_BURN; draw > 0; draw--) old();
  // A new context seeds its Math.random at the first call, from this flag as long as it is not 0 (V8 math-random.cc).
  v8.setFlagsFromString(`--random-seed=${flag >>> 1 || 1}`);
  const fresh: unknown = vm.runInNewContext('Math.random(); Math.random');
  v8.setFlagsFromString('--random-seed=0');
  if (typeof fresh !== 'function') return;
  Object.defineProperty(Math, 'random', {
    value: fresh,
    writable: true,
    enumerable: false,
    configurable: true,
  });
}

function dropCryptoCaches(): void {
  // What was never loaded has no cache, and loading node:crypto takes longer than the whole recipe.
  if (!isLoaded('internal/crypto/random')) return;
  const crypto = process.getBuiltinModule('node:crypto');
  for (let used = 0; used < UUID_CACHE; used++) crypto.randomUUID();
  for (let used = 0; used <= RANDOM_INT_CACHE; used++) crypto.randomInt(1_000_000);
}

function renewDnsChannel(retries: number): void {
  // c-ares keeps the state of its query ids in the channel; setting the servers makes a new one.
  if (!isLoaded('dns')) return;
  const dns = process.getBuiltinModule('node:dns');
  try {
    dns.setServers(dns.getServers());
  } catch {
    // Queries are under way (ERR_DNS_SET_SERVERS_FAILED): their ids are known to nobody but this process and the
    // server; a new channel is made once they have ended.
    if (retries > 0) startTimer(() => renewDnsChannel(retries - 1), DNS_RETRY_MS).unref();
  }
}

// process.moduleLoadList is not documented; where it is missing everything counts as loaded.
function isLoaded(name: string): boolean {
  const list: unknown = 'moduleLoadList' in process ? process.moduleLoadList : undefined;
  return Array.isArray(list) ? list.includes(`NativeModule ${name}`) : true;
}
