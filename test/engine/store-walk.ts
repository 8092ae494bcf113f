// What is done to a store while its file operations fail or kill it one by one (packages/testkit/src/programs/c/faults.c):
// how each operation begins, how it is carried out, and what has to hold afterwards. Used by store-steps.ts and by whoever starts it.
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { linkSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import {
  decodeRestorePlan,
  encodeRestorePlan,
  restorePlanOf,
  serializeManifest,
  storedName,
} from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import {
  compressImage,
  decompressImage,
  ensureHome,
  findDuplicates,
  findRubbish,
  launcherExchange,
  listDirectory,
  listStore,
  placesAt,
  readManifest,
  recordDigests,
  removeImage,
  removeRubbish,
  repairImage,
  shareDuplicate,
  temporaryName,
  unpackedDirectory,
  upgradeImage,
  verifyImage,
} from '@forkpoint/store';
import type { CompressOptions, Places } from '@forkpoint/store';

/** Where the walk works, and with what. */
export interface Walk {
  /** A directory that is made anew for each step. */
  readonly work: string;
  readonly launcher: string;
  readonly addon: string;
}

const LAYER = 'layers/00000000000a-50.pages';
const PAGES: Readonly<Record<string, Buffer>> = {
  'pages-1.img': Buffer.alloc(9000, 'abc'),
  [LAYER]: Buffer.alloc(70_000, 'warm '),
};

interface Operation {
  readonly prepare: (at: Places, options: CompressOptions) => Promise<void>;
  readonly run: (at: Places, options: CompressOptions) => Promise<unknown>;
}

const image = (at: Places): string => join(at.images, 'image');

/** Everything that changes a store but the checkpoint itself. */
export const OPERATIONS: Readonly<Record<string, Operation>> = {
  compress: {
    prepare: async (at) => void (await recordDigests(make(at, 'image', 2))),
    run: async (at, options) => await compressImage(image(at), options),
  },
  decompress: {
    prepare: async (at, options) => void (await compressImage(make(at, 'image', 2), options)),
    run: async (at, options) => await decompressImage(image(at), options),
  },
  unpack: {
    prepare: async (at, options) => void (await compressImage(make(at, 'image', 2), options)),
    run: async (at, options) => await unpackedDirectory(image(at), at, options),
  },
  digests: {
    prepare: async (at) => await Promise.resolve(void make(at, 'image', 2)),
    run: async (at) => await recordDigests(image(at), { memory: join(at.cache, 'digests.json') }),
  },
  upgrade: {
    prepare: async (at) => await Promise.resolve(void make(at, 'image', 1)),
    run: async (at, options) => await upgradeImage(image(at), options),
  },
  repair: {
    prepare: async (at) => {
      await recordDigests(make(at, 'copy', 2));
      await recordDigests(make(at, 'image', 2));
      writeFileSync(join(image(at), LAYER), Buffer.alloc(70_000));
    },
    run: async (at, options) => {
      const { problems } = await verifyImage(image(at));
      if (problems.length > 0)
        await repairImage(image(at), problems, { ...options, directories: [join(at.images, 'copy')] });
    },
  },
  rm: {
    prepare: async (at) => {
      make(at, 'image', 2);
      linkSync(join(image(at), LAYER), join(make(at, 'child', 2, []), LAYER));
      await recordDigests(join(at.images, 'child'));
    },
    run: async (at) => await removeImage(image(at)).catch(absentIsFine),
  },
  gc: {
    prepare: async (at) => {
      await recordDigests(make(at, 'image', 2));
      mkdirSync(join(at.images, temporaryName('half', 'p1-1-1')));
      mkdirSync(join(at.cache, 'unpacked', temporaryName('half', 'p1-1-1')), { recursive: true });
    },
    run: async (at) => await collect(at),
  },
  dedup: {
    prepare: async (at) => {
      await recordDigests(make(at, 'copy', 2));
      await recordDigests(make(at, 'image', 2));
    },
    run: async (at) => {
      for (const duplicate of await findDuplicates((await listDirectory(at.images)).images))
        await shareDuplicate(duplicate);
    },
  },
  list: {
    prepare: async (at) => await Promise.resolve(void make(at, 'image', 2)),
    run: async (at) => await listStore(at),
  },
};

/** Makes the beginning of an operation and returns what carries it out. */
export async function prepare(name: string, walk: Walk): Promise<() => Promise<unknown>> {
  const operation = operationOf(name);
  rmSync(walk.work, { recursive: true, force: true });
  const at = placesAt(join(walk.work, 'home'));
  await ensureHome(at);
  await operation.prepare(at, optionsOf(walk));
  return async () => await operation.run(at, optionsOf(walk));
}

/**
 * Checks what has to hold after an operation that failed or was killed: every image is whole or restorable as it was, no half
 * one is seen, `gc` leaves nothing, and the operation succeeds when it is repeated.
 */
export async function check(name: string, walk: Walk): Promise<void> {
  const at = placesAt(join(walk.work, 'home'));
  await wholeImages(at, walk, name === 'repair');
  await collect(at);
  const left = [at.images, at.cache, join(at.cache, 'unpacked')].flatMap((directory) => entriesOf(directory));
  assert.deepEqual(
    left.filter((entry) => entry.startsWith('.') || entry.endsWith('.new') || entry.endsWith('.tmp')),
    [],
    'gc has left something',
  );
  await operationOf(name).run(at, optionsOf(walk));
  await wholeImages(at, walk, false);
}

async function wholeImages(at: Places, walk: Walk, mayBeDamaged: boolean): Promise<void> {
  const { images, damaged } = await listDirectory(at.images);
  assert.deepEqual(damaged, [], 'a half image is seen');
  for (const { path, name } of images) {
    const { problems } = await verifyImage(path);
    if (mayBeDamaged && name === 'image' && problems.length > 0) {
      assert.deepEqual(
        problems.map(({ file }) => file),
        [LAYER],
      );
      continue;
    }
    assert.deepEqual(problems, [], name);
    await sameMemory(path, at, walk);
  }
}

async function sameMemory(path: string, at: Places, walk: Walk): Promise<void> {
  const manifest = await readManifest(path);
  const plan = decodeRestorePlan(readFileSync(join(path, 'restore.plan')));
  const scratch = { ...at, cache: join(walk.work, 'scratch') };
  mkdirSync(scratch.cache, { recursive: true });
  const raw = await unpackedDirectory(path, scratch, optionsOf(walk));
  for (const layer of manifest.layers) {
    assert.ok(readFileSync(join(raw, layer.file)).equals(PAGES[layer.file] ?? Buffer.alloc(0)), layer.file);
    assert.ok(readdirSync(path, { recursive: true, encoding: 'utf8' }).includes(storedName(layer)));
  }
  assert.equal(
    plan.unpacked === null,
    manifest.layers.every(({ compression }) => compression === null),
  );
  rmSync(scratch.cache, { recursive: true, force: true });
}

/** What `forkpoint gc` does, an hour later. */
async function collect(at: Places): Promise<void> {
  const { images } = await listDirectory(at.images);
  const nowMs = Date.now() + 3600 * 1000 * 25;
  const found = await findRubbish(at, {
    runs: [],
    imageIds: new Set(images.map(({ id }) => id)),
    nowMs,
    cacheMs: 3600 * 1000 * 48,
  });
  for (const item of found) await removeRubbish(item);
}

function make(at: Places, name: string, formatVersion: 1 | 2, files = Object.keys(PAGES)): string {
  const path = join(at.images, name);
  mkdirSync(join(path, 'layers'), { recursive: true, mode: 0o700 });
  const layers = Object.keys(PAGES).map((file) => {
    const bytes = PAGES[file] ?? Buffer.alloc(0);
    if (files.includes(file) || file !== LAYER) writeFileSync(join(path, file), bytes, { mode: 0o600 });
    return { file, size: bytes.length, pages: 1, compression: null, storedSize: bytes.length, sha256: null };
  });
  writeFileSync(join(path, 'pstree.img'), 'tree');
  const manifest: Manifest = {
    formatVersion,
    id: createHash('sha256').update(name).digest('hex').slice(0, 12),
    parentId: null,
    generation: 0,
    createdAt: '2026-01-02T03:04:05.678Z',
    command: ['x'],
    cwd: '/',
    runtime: null,
    host: { arch: 'x86_64', cpu: [], kernel: '6', glibc: null },
    engine: { criu: '4.2', forkpoint: '0' },
    processes: [{ pid: 50, parentPid: 1, threads: [50], command: ['x'] }],
    slots: [],
    clocks: {
      takenMs: 0,
      monotonic: { seconds: 0, nanoseconds: 0 },
      boottime: { seconds: 0, nanoseconds: 0 },
    },
    files: [],
    layers,
    labels: {},
    warmup: null,
    score: null,
    reseed: false,
    origin: { run: 'bbbbbbbbbbbb', name: 'x' },
    controlDirectory: '/x',
    members: [],
  };
  writeFileSync(join(path, 'manifest.json'), serializeManifest(manifest));
  const plan = restorePlanOf(manifest, {
    pidBase: 60,
    locks: [],
    parts: [
      { name: 'pstree.img', size: 4 },
      { name: 'pages-1.img', size: 9000 },
    ],
    blocked: [],
    hasIpcObjects: false,
    criu: [],
    reads: [],
    terminal: null,
  });
  writeFileSync(join(path, 'restore.plan'), encodeRestorePlan(plan));
  return path;
}

function optionsOf({ launcher, addon }: Walk): CompressOptions {
  return { exchange: launcherExchange(launcher), addon, sync: true };
}

function operationOf(name: string): Operation {
  const operation = OPERATIONS[name];
  if (operation === undefined) throw new Error(`there is no operation ${name}`);
  return operation;
}

function entriesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    // It was not made yet.
    return [];
  }
}

function absentIsFine(error: unknown): void {
  if (!(error instanceof Error && 'code' in error && error.code === 'ERR_FORKPOINT_IMAGE_NOT_FOUND'))
    throw error;
}
