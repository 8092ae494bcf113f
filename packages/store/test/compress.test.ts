import assert from 'node:assert/strict';
import {
  chmodSync,
  cpSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodeRestorePlan } from '@forkpoint/manifest';
import {
  compressImage,
  decompressImage,
  diffImages,
  ensureHome,
  placesAt,
  readContents,
  readDigests,
  readEntry,
  readManifest,
  recordDigests,
  repairImage,
  unpackedDirectory,
  upgradeImage,
  verifyImage,
} from '../src/index.ts';
import type { CompressOptions } from '../src/index.ts';
import { fakeImage, idOf } from './fake-image.ts';
import { temporaryDirectory } from './fake-run.ts';

/** Swaps two directories; not atomic, which these tests do not look at. */
async function exchange(a: string, b: string): Promise<void> {
  await rename(a, `${a}.x`);
  await rename(b, a);
  await rename(`${a}.x`, b);
}

const options: CompressOptions = { exchange, addon: '/no/addon', sync: false };
const PAGES = {
  'pages-1.img': Buffer.alloc(20_000, 'abc'),
  'layers/00000000000a-50.pages': Buffer.alloc(3 << 20, 'x1'),
};
const FORMAT_1 = join(import.meta.dirname, 'fixtures/format-1');

function snapshot(directory: string): Record<string, string> {
  const names = readdirSync(directory, { recursive: true, encoding: 'utf8' }).filter((name) =>
    statSync(join(directory, name)).isFile(),
  );
  return Object.fromEntries(
    names.sort().map((name) => [name, readFileSync(join(directory, name), 'base64')]),
  );
}

test('an image is compressed in place and comes back, and says of each layer how it is stored', async (t) => {
  const root = await temporaryDirectory(t);
  const image = fakeImage(root, 'image', {}, PAGES);
  const done = await compressImage(image, options);
  assert.deepEqual([done.isChanged, done.rawBytes], [true, 20_000 + (3 << 20)]);
  assert.ok(done.storedBytes * 50 < done.rawBytes);
  const packed = await readManifest(image);
  for (const { file, compression, storedSize, sha256 } of packed.layers) {
    assert.deepEqual([compression, storedSize], ['zstd', statSync(join(image, `${file}.zst`)).size]);
    assert.match(sha256 ?? '', /^[0-9a-f]{64}$/);
  }
  assert.deepEqual(readdirSync(root), ['image']);
  assert.equal(statSync(join(image, 'restore')).mode & 0o777, 0o700);
  assert.deepEqual((await verifyImage(image)).problems, []);
  assert.equal((await compressImage(image, options)).isChanged, false);
  assert.equal((await decompressImage(image, options)).isChanged, true);
  for (const [file, bytes] of Object.entries(PAGES)) assert.ok(readFileSync(join(image, file)).equals(bytes));
  assert.equal(decodeRestorePlan(readFileSync(join(image, 'restore.plan'))).unpacked, null);
  assert.deepEqual((await verifyImage(image)).problems, []);
  assert.equal((await decompressImage(image, options)).isChanged, false);
});

test('whatever fails, the image stays as it was and nothing is left beside it', async (t) => {
  const root = await temporaryDirectory(t);
  const image = fakeImage(root, 'image', {}, PAGES);
  const before = snapshot(image);
  const abort = AbortSignal.abort(new Error('enough'));
  await assert.rejects(compressImage(image, { ...options, signal: abort }), /enough/);
  const failing = async (): Promise<void> => await Promise.reject(new Error('no exchange'));
  await assert.rejects(compressImage(image, { ...options, exchange: failing }), /no exchange/);
  chmodSync(join(image, 'layers/00000000000a-50.pages'), 0o600);
  writeFileSync(join(root, 'other'), '');
  assert.deepEqual(snapshot(image), before);
  assert.deepEqual(readdirSync(root).sort(), ['image', 'other']);
});

test('an image that somebody replaces meanwhile is the one that stays', async (t) => {
  const root = await temporaryDirectory(t);
  const image = fakeImage(root, 'image', { id: idOf(1) }, PAGES);
  for (const isLate of [false, true]) {
    const other = fakeImage(root, 'other', { id: isLate ? idOf(3) : idOf(2) }, PAGES);
    const replace = (): void => {
      renameSync(image, join(root, `old-${isLate}`));
      renameSync(other, image);
    };
    let calls = 0;
    const racing = async (a: string, b: string): Promise<void> => {
      if (isLate && calls++ === 0) replace();
      await exchange(a, b);
    };
    const onBytes = isLate ? undefined : (): void => (calls++ === 0 ? replace() : undefined);
    await assert.rejects(
      compressImage(image, { ...options, exchange: racing, onBytes }),
      /another image was put/,
    );
    assert.equal((await readManifest(image)).id, isLate ? idOf(3) : idOf(2));
  }
  assert.deepEqual(readdirSync(root).sort(), ['image', 'old-false', 'old-true']);
});

test('a compressed image lies unpacked once, with the layers that others have too, however many ask at once', async (t) => {
  const root = await temporaryDirectory(t);
  const at = placesAt(join(root, 'home'));
  await ensureHome(at);
  const one = fakeImage(at.images, 'one', { id: idOf(1) }, PAGES);
  const two = fakeImage(
    at.images,
    'two',
    { id: idOf(2) },
    { ...PAGES, 'layers/00000000000b-50.pages': Buffer.alloc(5000, 7) },
  );
  assert.equal(await unpackedDirectory(one, at, options), one, 'a plain image is its own directory');
  for (const image of [one, two]) await compressImage(image, options);
  const found = await Promise.all([1, 2, 3].map(async () => await unpackedDirectory(one, at, options)));
  assert.equal(new Set(found).size, 1);
  const [directory = ''] = found;
  assert.equal(
    directory,
    join(at.cache, 'unpacked', decodeRestorePlan(readFileSync(join(one, 'restore.plan'))).unpacked ?? ''),
  );
  for (const [file, bytes] of Object.entries(PAGES))
    assert.ok(readFileSync(join(directory, file)).equals(bytes));
  const second = await unpackedDirectory(two, at, options);
  const shared = 'layers/00000000000a-50.pages';
  assert.equal(statSync(join(second, shared)).ino, statSync(join(directory, shared)).ino);
  assert.deepEqual(readdirSync(join(at.cache, 'unpacked')).length, 2, 'nothing half-made is left');
});

test('damage is found and named: a changed byte, a short layer, an exchanged file, a stale manifest, a new runtime', async (t) => {
  const root = await temporaryDirectory(t);
  const runtime = join(root, 'node');
  writeFileSync(runtime, 'runtime 1');
  const { mtimeNs, size } = statSync(runtime, { bigint: true });
  const files = [
    { path: runtime, size: Number(size), mtimeNs: String(mtimeNs), buildId: null, sha256: null },
  ];
  const fresh = async (name: string): Promise<string> => {
    const image = fakeImage(root, name, { files }, PAGES);
    await recordDigests(image);
    return image;
  };
  const kinds = async (image: string): Promise<string[]> =>
    (await verifyImage(image)).problems.map(({ kind, file }) => `${kind} ${file.replace(root, '')}`);
  assert.deepEqual(await kinds(await fresh('good')), []);
  const flipped = await fresh('flipped');
  const bytes = readFileSync(join(flipped, 'layers/00000000000a-50.pages'));
  bytes[70_000] = (bytes[70_000] ?? 0) ^ 4;
  writeFileSync(join(flipped, 'layers/00000000000a-50.pages'), bytes);
  assert.deepEqual(await kinds(flipped), ['content layers/00000000000a-50.pages']);
  const short = await fresh('short');
  writeFileSync(join(short, 'layers/00000000000a-50.pages'), bytes.subarray(0, 5000));
  assert.deepEqual(await kinds(short), ['size layers/00000000000a-50.pages']);
  const exchanged = await fresh('exchanged');
  writeFileSync(
    join(exchanged, 'pstree.img'),
    readFileSync(join(exchanged, 'pstree.img'), 'utf8').replace('p', 'q'),
  );
  writeFileSync(join(exchanged, 'core-1.img'), 'new');
  assert.deepEqual(await kinds(exchanged), ['content pstree.img', 'unexpected core-1.img']);
  const stale = await fresh('stale');
  const text = readFileSync(join(stale, 'manifest.json'), 'utf8');
  writeFileSync(join(stale, 'manifest.json'), text.replace('"shop"', '"spoh"'));
  assert.deepEqual(await kinds(stale), ['content manifest.json']);
  writeFileSync(join(stale, 'manifest.json'), text.replaceAll('0123456789ab', '0123456789ac'));
  assert.deepEqual(await kinds(stale), ['plan restore.plan', 'manifest manifest.json']);
  writeFileSync(join(stale, 'manifest.json'), '{');
  assert.deepEqual(await kinds(stale), ['manifest manifest.json']);
  const unproven = await verifyImage(fakeImage(root, 'unproven', { files }, PAGES));
  assert.deepEqual([unproven.hasDigests, unproven.problems], [false, []]);
  writeFileSync(runtime, 'runtime 2');
  assert.deepEqual(await kinds(join(root, 'good')), ['mapped /node']);
});

test('a damaged layer is replaced by a good copy of another image, compressed or not, and by no other', async (t) => {
  const root = await temporaryDirectory(t);
  const layer = 'layers/00000000000a-50.pages';
  const make = async (name: string, isPacked: boolean): Promise<string> => {
    const image = fakeImage(root, name, { id: idOf(name.length) }, PAGES);
    await recordDigests(image);
    if (isPacked) await compressImage(image, options);
    return image;
  };
  const [plain, packed] = [await make('plain', false), await make('packed', true)];
  const wrong = fakeImage(root, 'wrong', {}, { [layer]: Buffer.alloc(3 << 20, 'x2') });
  const damage = (image: string, name: string): void =>
    writeFileSync(join(image, name), Buffer.alloc(statSync(join(image, name)).size));
  damage(plain, layer);
  const repair = async (image: string, ...directories: string[]): Promise<number> => {
    const { problems } = await verifyImage(image);
    assert.equal(problems.length, 1);
    return (await repairImage(image, problems, { ...options, directories })).repaired.length;
  };
  assert.equal(await repair(plain, wrong, packed), 0, 'a packed copy is not plain');
  const copy = await make('the copy', false);
  assert.equal(await repair(plain, wrong, copy), 1);
  assert.deepEqual((await verifyImage(plain)).problems, []);
  assert.equal(statSync(join(plain, layer)).ino, statSync(join(copy, layer)).ino);
  damage(packed, `${layer}.zst`);
  assert.equal(await repair(packed, wrong, copy), 1);
  assert.deepEqual((await verifyImage(packed)).problems, []);
  await decompressImage(packed, options);
  assert.ok(readFileSync(join(packed, layer)).equals(PAGES[layer]));
  assert.deepEqual(readdirSync(root).sort(), ['packed', 'plain', 'the copy', 'wrong']);
});

test('an image of format 1 is listed, read, compared, compressed, verified and upgraded', async (t) => {
  const root = await temporaryDirectory(t);
  const image = join(root, 'old');
  cpSync(FORMAT_1, image, { recursive: true });
  const entry = await readEntry(image);
  assert.deepEqual([entry.formatVersion, entry.labels, entry.generation], [1, { app: 'tiny' }, 0]);
  const manifest = await readManifest(image);
  assert.deepEqual(
    manifest.layers.map(({ file, storedSize, compression }) => [file, storedSize, compression]),
    [['pages-1.img', 90_112, null]],
  );
  const contents = await readContents(image, manifest.processes[0]?.pid ?? 0);
  assert.ok(contents.environment.includes('SECRET') && contents.areas.length > 3);
  assert.equal((await diffImages(image, image)).pages.changed, 0);
  assert.deepEqual((await verifyImage(image)).problems, []);
  assert.equal(await upgradeImage(image, options), true);
  assert.equal(await upgradeImage(image, options), false);
  assert.equal((await readManifest(image)).formatVersion, 2);
  const second = join(root, 'second');
  cpSync(FORMAT_1, second, { recursive: true });
  await compressImage(second, options);
  assert.equal((await readManifest(second)).formatVersion, 2);
  assert.equal((await readDigests(second))?.image, manifest.id);
  mkdirSync(join(root, 'x'));
  linkSync(join(image, 'pages-1.img'), join(root, 'x', 'pages-1.img'));
});
