import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { decodePlan, encodePlan } from '@forkpoint/manifest';
import {
  compressImage,
  decompressImage,
  ensureHome,
  listDirectory,
  placesAt,
  preflight,
  readContents,
  readEntry,
  recordDigests,
  removeImage,
  unpackedDirectory,
  upgradeImage,
  verifyImage,
} from '../../src/index.ts';
import type { CompressOptions } from '../../src/index.ts';
import { fakeImage } from '../fake-image.ts';
import { temporaryDirectory } from '../fake-run.ts';

const PAGES = { 'pages-1.img': Buffer.alloc(9000, 1), 'layers/00000000000a-50.pages': Buffer.alloc(9000, 2) };
const SECRET = 'nobody reads this';

type Json = { [key: string]: unknown };

const layer = (change: Json) => (manifest: Json) => {
  const [first, ...rest] = manifest['layers'] as Json[];
  return { ...manifest, layers: [{ ...first, ...change }, ...rest] };
};
const field = (change: Json) => (manifest: Json) => ({ ...manifest, ...change });

/** What somebody may have written into a manifest. */
const MANIFESTS: readonly (readonly [string, (manifest: Json) => unknown])[] = [
  ...[
    '../outside/secret',
    '/etc/passwd',
    '..',
    '.',
    '',
    'a/b',
    'layers/',
    'layers/a/b',
    'layers//x',
    'layers/../../x',
  ].map((file) => [`a layer called ${file}`, layer({ file })] as const),
  ...[
    'layers/.hidden',
    '-rf',
    'x\ny',
    'x\0y',
    'x'.repeat(300),
    './x',
    'manifest.json/x',
    'Layers/x',
    '\u202ex',
  ].map((file) => [`a layer called ${JSON.stringify(file)}`, layer({ file })] as const),
  ...[-1, 1e300, 2 ** 60, 1.5, '9000', null].map(
    (size) => [`a layer of ${String(size)} bytes`, layer({ size, storedSize: size })] as const,
  ),
  ...[-1, 1e300, 'many'].map((pages) => [`a layer of ${pages} pages`, layer({ pages })] as const),
  ...['gzip', 'lz4', '../zstd', 1, true].map(
    (compression) => [`a layer packed by ${compression}`, layer({ compression })] as const,
  ),
  ['a packed layer without a digest', layer({ compression: 'zstd', storedSize: 5 })],
  ['a plain layer of two sizes', layer({ storedSize: 5 })],
  ['a layer whose digest is no digest', layer({ sha256: '../../secret' })],
  [
    'a layer twice',
    (manifest) => ({
      ...manifest,
      layers: [...(manifest['layers'] as Json[]), ...(manifest['layers'] as Json[])],
    }),
  ],
  [
    'too many layers',
    (manifest) => ({
      ...manifest,
      layers: Array.from({ length: 70_000 }, () => (manifest['layers'] as Json[])[0]),
    }),
  ],
  ...['../../x', '', '.', '/x', 'a/b', 'x'.repeat(100), 7].map(
    (id) => [`the id ${String(id).slice(0, 9)}`, field({ id })] as const,
  ),
  ...['../x', '', 9].map((parentId) => [`the parent ${parentId}`, field({ parentId })] as const),
  ...['../x', 'x\0', 5].map((cwd) => [`the directory ${JSON.stringify(cwd)}`, field({ cwd })] as const),
  ...[-1, 1e18, 'x'].map((generation) => [`the generation ${generation}`, field({ generation })] as const),
  [
    'labels that reach a prototype',
    (manifest) => JSON.parse(JSON.stringify(manifest).replace('"app"', '"__proto__"')) as Json,
  ],
  ['no process', field({ processes: [] })],
  ['a newer format', field({ formatVersion: 99 })],
  ['a list', () => []],
  ['nothing', () => null],
];

test('no manifest makes a command read, write or list anything outside its image', async (t) => {
  assert.ok(MANIFESTS.length >= 50, `${MANIFESTS.length} cases`);
  const root = await temporaryDirectory(t);
  const { at, options } = await surroundings(root);
  for (const [name, change] of MANIFESTS) {
    const image = fakeImage(at.images, 'image', {}, PAGES);
    const manifest = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8')) as Json;
    writeFileSync(join(image, 'manifest.json'), JSON.stringify(change(manifest)));
    const { images, damaged } = await listDirectory(at.images);
    assert.deepEqual([images.length, damaged.length], [0, 1], name);
    for (const work of commandsOn(image, at, options)) await assert.rejects(work(), refused, name);
    assert.ok(
      (await verifyImage(image)).problems.some(({ kind }) => kind === 'manifest'),
      name,
    );
    const found = await preflight(image, {
      launcher: '/no/launcher',
      enginePlan: '/no/plan',
      runs: '/no/runs',
    });
    assert.ok(
      found.some(({ kind }) => kind === 'image' || kind === 'newer'),
      name,
    );
    unharmed(root, name);
    await removeImage(image);
  }
});

test('no plan and no file of an image leads out of it: names, links, FIFOs, devices', async (t) => {
  const root = await temporaryDirectory(t);
  const { at, options } = await surroundings(root);
  const secret = join(root, 'outside/secret');
  const plan = (key: string, fields: readonly string[]) => (image: string) => {
    const records = decodePlan(readFileSync(join(image, 'restore.plan'))).filter(
      (record) => record.key !== key,
    );
    writeFileSync(join(image, 'restore.plan'), encodePlan([...records, { key, fields }]));
  };
  const instead = (file: string, make: (path: string) => void) => (image: string) => {
    rmSync(join(image, file), { recursive: true });
    make(join(image, file));
  };
  const fifo = (path: string): void => void execFileSync('mkfifo', [path]);
  const cases: [string, (image: string) => void][] = [
    ...['../x', '.x', '/x', 'a/b', '', '..'].map((key): [string, (image: string) => void] => [
      `the plan's unpacked ${key}`,
      plan('unpacked', [key]),
    ]),
    ...['../x', '/x', 'a/b', '..'].flatMap((name): [string, (image: string) => void][] => [
      [`the plan's layer ${name}`, plan('layer', [name, '5'])],
      [`the plan's part ${name}`, plan('part', [name, '5'])],
    ]),
    ['a layer that is a link', instead('layers/00000000000a-50.pages', (path) => symlinkSync(secret, path))],
    [
      'a layer that is a device',
      instead('layers/00000000000a-50.pages', (path) => symlinkSync('/dev/zero', path)),
    ],
    ['a layer that is a FIFO', instead('layers/00000000000a-50.pages', fifo)],
    ['layers that are a link', instead('layers', (path) => symlinkSync(join(root, 'outside'), path))],
    ['a manifest that is a FIFO', instead('manifest.json', fifo)],
    ['a plan that is a FIFO', instead('restore.plan', fifo)],
    ['a plan that is a device', instead('restore.plan', (path) => symlinkSync('/dev/zero', path))],
    ['a part that is a FIFO', instead('pstree.img', fifo)],
  ];
  for (const [name, change] of cases) {
    const image = fakeImage(at.images, 'image', {}, PAGES);
    change(image);
    for (const work of commandsOn(image, at, options))
      await work().catch((error: unknown) => assert.ok(refused(error), `${name}: ${String(error)}`));
    await verifyImage(image).catch((error: unknown) => assert.ok(refused(error), name));
    await preflight(image, { launcher: '/no/launcher', enginePlan: '/no/plan', runs: '/no/runs' });
    unharmed(root, name);
    rmSync(at.home, { recursive: true });
    await ensureHome(at);
  }
  const image = fakeImage(at.images, 'image', {}, PAGES);
  await recordDigests(image);
  for (const [key, name] of [
    ['pages-1.img', '../../../outside/secret'],
    ['pages-1.img', '/etc/passwd'],
    ['pages-1.img', '__proto__'],
  ]) {
    const text = readFileSync(join(image, 'digests.json'), 'utf8');
    writeFileSync(join(image, 'digests.json'), text.replace(JSON.stringify(key), JSON.stringify(name)));
    assert.deepEqual(
      (await verifyImage(image)).problems.map(({ kind }) => kind),
      ['digests'],
    );
    writeFileSync(join(image, 'digests.json'), text);
  }
});

test('no command makes a file of its own with set-ID bits out of an image that has them', async (t) => {
  const root = await temporaryDirectory(t);
  const { at, options } = await surroundings(root);
  // On another file system, so that whatever is carried over is copied, as it is where it belongs to somebody else.
  const elsewhere = mkdtempSync('/dev/shm/fp-');
  t.after(() => rmSync(elsewhere, { recursive: true, force: true }));
  assert.notEqual(statSync(elsewhere).dev, statSync(root).dev);
  let made = 0;
  for (const directory of [elsewhere, at.images]) {
    const image = fakeImage(directory, 'image', {}, PAGES);
    for (const name of filesBelow(image)) chmodSync(name, 0o6755);
    const inode = (name: string): string => `${statSync(name).dev}:${statSync(name).ino}`;
    const given = new Set(filesBelow(root, elsewhere).map(inode));
    const check = (): void => {
      for (const name of filesBelow(root, elsewhere)) {
        if (given.has(inode(name))) continue;
        assert.equal(statSync(name).mode & 0o6000, 0, name);
        made++;
      }
    };
    const others = commandsOn(image, at, options).filter((work) => !/readContents/.test(String(work)));
    for (const work of others) await work().finally(check);
    // Now compressed again, so that it is unpacked into the cache.
    await compressImage(image, options);
    await unpackedDirectory(image, at, options);
    await verifyImage(image);
    check();
    await removeImage(image);
    rmSync(join(at.cache, 'unpacked'), { recursive: true });
  }
  assert.ok(made > 20, `${made} files were made`);
});

function filesBelow(...directories: string[]): string[] {
  const entries = directories.flatMap((directory) =>
    readdirSync(directory, { recursive: true, withFileTypes: true }),
  );
  return entries.filter((entry) => entry.isFile()).map((entry) => join(entry.parentPath, entry.name));
}

async function surroundings(
  root: string,
): Promise<{ at: ReturnType<typeof placesAt>; options: CompressOptions }> {
  const at = placesAt(join(root, 'home'));
  await ensureHome(at);
  mkdirSync(join(root, 'outside'));
  writeFileSync(join(root, 'outside/secret'), SECRET);
  const exchange = async (a: string, b: string): Promise<void> => {
    await rename(a, `${a}.x`);
    renameSync(b, a);
    renameSync(`${a}.x`, b);
  };
  return { at, options: { exchange, addon: '/no/addon', sync: false } };
}

/** Everything that reads or writes one image. */
function commandsOn(
  image: string,
  at: ReturnType<typeof placesAt>,
  options: CompressOptions,
): (() => Promise<unknown>)[] {
  return [
    async () => await readEntry(image),
    async () => await compressImage(image, options),
    async () => await unpackedDirectory(image, at, options),
    async () => await decompressImage(image, options),
    async () => await upgradeImage(image, options),
    async () => await recordDigests(image),
    async () => await readContents(image, 50).then(() => assert.fail('it has no contents')),
  ];
}

function refused(error: unknown): boolean {
  return error instanceof Error && 'code' in error && /^ERR_FORKPOINT_|^ENOENT$/.test(String(error.code));
}

/** Nothing outside has changed, and nothing inside holds what lies there. */
function unharmed(root: string, name: string): void {
  assert.deepEqual(readdirSync(root).sort(), ['home', 'outside'], name);
  assert.deepEqual(readdirSync(join(root, 'outside')), ['secret'], name);
  assert.equal(readFileSync(join(root, 'outside/secret'), 'utf8'), SECRET, name);
  // find(1) follows no links.
  const files = execFileSync('find', [join(root, 'home'), '-type', 'f'], { encoding: 'utf8' });
  for (const path of files.split('\n').filter(Boolean))
    assert.ok(!readFileSync(path).includes(SECRET), `${name}: ${path}`);
}
