import { createHash, randomBytes } from 'node:crypto';
import { lstat, readFile, rename, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { dictionary, integer, list, object, oneOf, text } from '@forkpoint/manifest';
import { filesOf } from './entries.ts';
import { errnoOf, reasonOf, StoreError, worded } from './error.ts';
import { readManifest } from './images.ts';
import type { Watch } from './packing.ts';
import { openRegular, readRegular } from './read-file.ts';

/** Name of the file that holds the digests of an image. */
export const DIGESTS_FILE = 'digests.json';
const VERSION = 1;
const MAX_BYTES = 64 << 20;
const BLOCK = 1 << 20;

/** A mapped file of the program, outside the image, as it was when the digests were computed. */
export interface MappedDigest {
  readonly path: string;
  readonly size: number;
  readonly mtimeNs: string;
  readonly sha256: string;
}

/** SHA-256 of everything that an image consists of. */
export interface Digests {
  readonly version: typeof VERSION;
  /** Id of the image. */
  readonly image: string;
  /** Of each file of the image, as it is stored, by its name; the manifest and the restore plan are among them. */
  readonly files: Readonly<Record<string, { readonly size: number; readonly sha256: string }>>;
  readonly mapped: readonly MappedDigest[];
}

const sha256 = text(64, /^[0-9a-f]{64}$/);
const digests = object({
  version: oneOf(VERSION),
  image: text(64),
  files: dictionary(
    object({ size: integer(0), sha256 }),
    262_144,
    /^(layers\/)?[A-Za-z0-9_][A-Za-z0-9._-]{0,254}$/,
  ),
  mapped: list(
    object({ path: text(4096, /^\//), size: integer(0), mtimeNs: text(21, /^-?\d{1,20}$/), sha256 }),
    262_144,
  ),
});
const remembered = object({ version: oneOf(VERSION), files: dictionary(sha256, 10_000, /^[\d: -]{1,128}$/) });

/** Returns the digests of an image, or null when they were not computed yet. Throws ERR_FORKPOINT_DIGEST when they cannot be used. */
export async function readDigests(image: string): Promise<Digests | null> {
  const file = join(image, DIGESTS_FILE);
  try {
    return digests(JSON.parse((await readRegular(file, MAX_BYTES)).toString('utf8')), '');
  } catch (cause) {
    if (errnoOf(cause) === 'ENOENT') return null;
    throw new StoreError('ERR_FORKPOINT_DIGEST', `${file} is not usable: ${reasonOf(cause)}`, {
      hint: `Compute them anew with \`forkpoint verify --record ${image}\``,
      cause,
    });
  }
}

/** How digests are computed. */
export interface DigestOptions extends Watch {
  /** File that remembers the digests of mapped files, so that a runtime of 100 MB is not read for every image. */
  readonly memory?: string;
}

/**
 * Reads everything that an image consists of and puts the digests beside it, by one rename. Returns them. Throws
 * ERR_FORKPOINT_DIGEST when the image changes or goes away meanwhile, system errors, and the reason of the signal.
 */
export async function recordDigests(image: string, options: DigestOptions = {}): Promise<Digests> {
  try {
    return await record(image, options);
  } catch (error) {
    throw worded(error, 'ERR_FORKPOINT_DIGEST', `the digests of ${image} cannot be computed`);
  }
}

async function record(image: string, options: DigestOptions): Promise<Digests> {
  const manifest = await readManifest(image);
  const files: Record<string, { size: number; sha256: string }> = {};
  for (const { name } of await filesOf(image)) {
    if (name === DIGESTS_FILE || isDraft(name)) continue;
    // Links, FIFOs and devices are no part of an image; a restore does not follow them either.
    if (!(await lstat(join(image, name))).isFile()) continue;
    files[name] = await digestOf(join(image, name), options);
  }
  const memory = await MappedMemory.open(options.memory);
  const mapped: MappedDigest[] = [];
  for (const file of manifest.files.filter(({ mtimeNs }) => mtimeNs !== null)) {
    const found = await memory.digestOf(file.path, options);
    // A file that has gone or changed since is told by the preflight.
    if (found !== undefined && found.mtimeNs === file.mtimeNs) mapped.push(found);
  }
  await memory.save();
  const value: Digests = { version: VERSION, image: manifest.id, files, mapped };
  await writeDigests(image, value);
  return value;
}

/** Puts digests into an image directory by one rename. Throws system errors. */
export async function writeDigests(image: string, value: Digests): Promise<void> {
  const draft = join(image, `${DIGESTS_FILE}.${randomBytes(6).toString('hex')}.new`);
  try {
    await writeFile(draft, `${JSON.stringify(value, null, 1)}\n`, { mode: 0o600 });
    await rename(draft, join(image, DIGESTS_FILE));
  } catch (error) {
    await rm(draft, { force: true }).catch(() => undefined);
    throw error;
  }
}

/** Returns whether a name is that of digests that were about to be put in place. */
export function isDraft(name: string): boolean {
  return /^digests\.json\.[0-9a-f]{12}\.new$/.test(name);
}

/** Returns size and SHA-256 of a file. Throws system errors, and the reason of the signal. */
export async function digestOf(path: string, watch: Watch = {}): Promise<{ size: number; sha256: string }> {
  const handle = await openRegular(path);
  try {
    const hash = createHash('sha256');
    const block = Buffer.allocUnsafe(BLOCK);
    let size = 0;
    for (;;) {
      watch.signal?.throwIfAborted();
      const { bytesRead } = await handle.read(block, 0, BLOCK, size);
      if (bytesRead === 0) return { size, sha256: hash.digest('hex') };
      hash.update(block.subarray(0, bytesRead));
      size += bytesRead;
      watch.onBytes?.(bytesRead);
    }
  } finally {
    await handle.close();
  }
}

/** Digests of mapped files by device, inode, size and both times. Losing it costs time only. */
class MappedMemory {
  readonly #file: string | undefined;
  readonly #known: Map<string, string>;
  #isChanged = false;

  private constructor(file: string | undefined, known: Map<string, string>) {
    this.#file = file;
    this.#known = known;
  }

  static async open(file: string | undefined): Promise<MappedMemory> {
    try {
      const value = remembered(JSON.parse(await readFile(file ?? '', 'utf8')), '');
      return new MappedMemory(file, new Map(Object.entries(value.files)));
    } catch {
      return new MappedMemory(file, new Map());
    }
  }

  /** Returns the digest of a file, or undefined when it cannot be read or is no file. */
  async digestOf(path: string, watch: Watch): Promise<MappedDigest | undefined> {
    const facts = await stat(path, { bigint: true }).catch(() => undefined);
    if (facts === undefined || !facts.isFile()) return undefined;
    const key = [facts.dev, facts.ino, facts.size, facts.mtimeNs, facts.ctimeNs].join(' ');
    let known = this.#known.get(key);
    if (known === undefined) {
      const read = await digestOf(path, watch).catch((error: unknown) => {
        watch.signal?.throwIfAborted();
        // What may only be executed cannot be read.
        if (errnoOf(error) === undefined) throw error;
        return undefined;
      });
      if (read === undefined) return undefined;
      known = read.sha256;
      this.#known.set(key, known);
      this.#isChanged = true;
    }
    return { path, size: Number(facts.size), mtimeNs: String(facts.mtimeNs), sha256: known };
  }

  async save(): Promise<void> {
    if (this.#file === undefined || !this.#isChanged) return;
    const files = Object.fromEntries([...this.#known].slice(-5000));
    const draft = `${this.#file}.${randomBytes(6).toString('hex')}.new`;
    try {
      await writeFile(draft, JSON.stringify({ version: VERSION, files }), { mode: 0o600 });
      await rename(draft, this.#file);
    } catch {
      await rm(draft, { force: true }).catch(() => undefined);
    }
  }
}
