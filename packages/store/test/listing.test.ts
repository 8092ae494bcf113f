import assert from 'node:assert/strict';
import { linkSync, mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  checkRemovable,
  ensureHome,
  hasLabels,
  lineageOf,
  listDirectory,
  listStore,
  placesAt,
  removeImage,
  selectByLabels,
  usageOf,
} from '../src/index.ts';
import type { LineageNode } from '../src/index.ts';
import { fakeImage, idOf } from './fake-image.ts';
import { temporaryDirectory } from './fake-run.ts';

test('a second listing of many images reads the index and no image, and a new image is read alone', async (t) => {
  const at = placesAt(await temporaryDirectory(t));
  await ensureHome(at);
  for (let number = 0; number < 200; number++) fakeImage(at.images, `image-${number}`, { id: idOf(number) });
  const first = await listStore(at);
  assert.deepEqual([first.images.length, first.readCount], [200, 200]);
  const second = await listStore(at);
  assert.deepEqual([second.images.length, second.readCount], [200, 0]);
  assert.deepEqual(second.images, first.images);
  fakeImage(at.images, 'new', { id: idOf(5000) });
  rmSync(join(at.images, 'image-7'), { recursive: true });
  const third = await listStore(at);
  assert.deepEqual([third.images.length, third.readCount], [200, 1]);
  writeFileSync(join(at.cache, 'images.json'), '{"version":1,');
  assert.equal((await listStore(at)).images.length, 200, 'a damaged index is no obstacle');
});

test('damaged images are named and stop no listing, and what is no image is left out', async (t) => {
  const root = await temporaryDirectory(t);
  fakeImage(root, 'good');
  writeFileSync(join(fakeImage(root, 'torn'), 'manifest.json'), '{"formatVersion":1,');
  mkdirSync(join(root, 'other'));
  writeFileSync(join(root, 'other', 'manifest.json'), '{}');
  fakeImage(root, '.half.forkpoint-0123456789ab-00000000.tmp');
  const { images, damaged } = await listDirectory(root);
  assert.deepEqual(
    images.map(({ name }) => name),
    ['good'],
  );
  assert.deepEqual(
    damaged.map(({ name }) => name),
    ['torn'],
  );
});

test('images stand below their parents; one whose parent is gone, or is its own descendant, is a root', async (t) => {
  const root = await temporaryDirectory(t);
  const image = (name: string, id: number, parent: number | null): void =>
    void fakeImage(root, name, { id: idOf(id), parentId: parent === null ? null : idOf(parent) });
  image('a', 1, null);
  image('b', 2, 1);
  image('c', 3, 2);
  image('d', 4, 1);
  image('orphan', 5, 99);
  image('loop-1', 6, 7);
  image('loop-2', 7, 6);
  const shape = (node: LineageNode): unknown[] => [node.image.name, ...node.children.map(shape)];
  const trees = lineageOf((await listDirectory(root)).images).map(shape);
  assert.deepEqual(trees, [['a', ['b', ['c']], ['d']], ['loop-1'], ['loop-2'], ['orphan']]);
});

test('a page file that two images have counts once, and what only a running program has is told apart', async (t) => {
  const root = await temporaryDirectory(t);
  const bytes = Buffer.alloc(1 << 20, 1);
  fakeImage(root, 'a', { id: idOf(1) }, { 'layers/x.pages': bytes });
  fakeImage(root, 'b', { id: idOf(2) });
  linkSync(join(root, 'a', 'layers/x.pages'), join(root, 'b', 'layers/x.pages'));
  const { images } = await listDirectory(root);
  const layer = images[0]?.files[0]?.bytes ?? 0;
  assert.ok(layer >= bytes.length);
  const usage = usageOf(images, new Map([['0:0', 4096]]));
  assert.equal(usage.runningOnlyBytes, 4096);
  assert.deepEqual(
    [...usage.byPath.values()].map(({ sharedBytes }) => sharedBytes),
    [layer, layer],
  );
  const rest = images.reduce((sum, { restBytes }) => sum + restBytes, 0);
  assert.equal(usage.totalBytes, layer + rest);
  const alone = usageOf(images.slice(0, 1), new Map());
  assert.equal(alone.byPath.get(join(root, 'a'))?.ownBytes, layer + (images[0]?.restBytes ?? 0));
});

test('an image that lost its plan or its manifest is listed as damaged, and what never was one is not', async (t) => {
  const root = await temporaryDirectory(t);
  for (const name of ['good', 'torn', 'planless', 'nameless']) fakeImage(root, name);
  truncateSync(join(root, 'torn/restore.plan'), 5);
  rmSync(join(root, 'planless/restore.plan'));
  rmSync(join(root, 'nameless/manifest.json'));
  mkdirSync(join(root, 'foreign'));
  writeFileSync(join(root, 'foreign/manifest.json'), '{}');
  writeFileSync(join(root, 'file'), '');
  const { images, damaged } = await listDirectory(root);
  assert.deepEqual(
    images.map(({ name }) => name),
    ['good'],
  );
  assert.deepEqual(
    damaged.map(({ name, reason }) => `${name}: ${reason}`),
    [
      'nameless: it has no manifest.json',
      'planless: it has no restore.plan',
      'torn: its restore.plan is damaged',
    ],
  );
  for (const { path } of damaged) {
    await assert.rejects(checkRemovable(path), /is not an image/);
    await removeImage(path, { isForced: true });
  }
});

test('of the images with a label the newest that can be restored is chosen, and otherwise it is said why not', async (t) => {
  const root = await temporaryDirectory(t);
  const at = (day: number): string => `2026-01-0${day}T00:00:00.000Z`;
  fakeImage(root, 'old', { id: idOf(1), createdAt: at(1), labels: { app: 'x' } });
  fakeImage(root, 'new', { id: idOf(2), createdAt: at(3), labels: { app: 'x', tier: 'web' } });
  fakeImage(root, 'other', { id: idOf(3), createdAt: at(4), labels: { app: 'y' } });
  const { images } = await listDirectory(root);
  const fine = async (): Promise<[]> => await Promise.resolve([]);
  const changed = { kind: 'file', message: '/lib/x has changed' } as const;
  assert.equal((await selectByLabels(images, { app: 'x' }, fine)).name, 'new');
  const passed: string[] = [];
  const second = await selectByLabels(
    images,
    { app: 'x' },
    async (path) => await Promise.resolve(path.endsWith('/new') ? [changed] : []),
    ({ name }, found) => passed.push(`${name}: ${found.map(({ message }) => message).join()}`),
  );
  assert.equal(second.name, 'old');
  assert.deepEqual(passed, ['new: /lib/x has changed']);
  await assert.rejects(
    selectByLabels(images, { app: 'x' }, async () => await Promise.resolve([changed])),
    /none of the 2 images .* \/lib\/x has changed/,
  );
  await assert.rejects(
    selectByLabels(images, { app: 'z' }, fine),
    /no image of the store has the label app=z/,
  );
  assert.equal(hasLabels({ labels: {} }, { constructor: 'x' }), false);
});
