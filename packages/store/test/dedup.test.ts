import assert from 'node:assert/strict';
import { linkSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import {
  findDuplicates,
  listDirectory,
  recordDigests,
  shareDuplicate,
  usageOf,
  verifyImage,
} from '@forkpoint/store';
import { fakeImage, idOf } from './fake-image.ts';
import { temporaryDirectory } from './fake-run.ts';

test('equal files of images are held once, whatever their names; what only looks equal stays', async (t) => {
  const root = await temporaryDirectory(t);
  const pages = Buffer.alloc(1 << 20, 'warm');
  const other = Buffer.alloc(1 << 20, 'cold');
  const made = [
    fakeImage(root, 'a', { id: idOf(1) }, { 'layers/x.pages': pages }),
    fakeImage(root, 'b', { id: idOf(2) }, { 'layers/y.pages': pages, 'pages-1.img': other }),
    fakeImage(root, 'd', { id: idOf(4) }, { 'layers/z.pages': pages }),
  ];
  const [a = '', b = '', d = ''] = made;
  // Two names of one file: its bytes go with the second.
  const c = fakeImage(root, 'c', { id: idOf(3) });
  linkSync(join(b, 'layers/y.pages'), join(c, 'layers/y.pages'));
  for (const path of [...made, c]) await recordDigests(path);
  // Its digest is of before.
  writeFileSync(join(d, 'layers/z.pages'), other);
  const list = async () => (await listDirectory(root)).images;
  const before = usageOf(await list(), new Map()).totalBytes;
  const found = await findDuplicates(await list());
  assert.deepEqual(
    found.map(({ path, original, bytes }) => [
      path.slice(root.length),
      original.slice(root.length),
      bytes > 0,
    ]),
    [
      ['/b/layers/y.pages', '/a/layers/x.pages', false],
      ['/c/layers/y.pages', '/a/layers/x.pages', true],
      ['/d/layers/z.pages', '/a/layers/x.pages', true],
    ],
  );
  const shared: boolean[] = [];
  for (const duplicate of found) shared.push(await shareDuplicate(duplicate));
  assert.deepEqual(shared, [true, true, false]);
  const inodes = [join(a, 'layers/x.pages'), join(b, 'layers/y.pages'), join(c, 'layers/y.pages')];
  assert.equal(new Set(inodes.map((path) => statSync(path).ino)).size, 1);
  assert.equal(before - usageOf(await list(), new Map()).totalBytes, 1 << 20);
  for (const path of [a, b, c]) assert.deepEqual((await verifyImage(path)).problems, []);
  assert.deepEqual(readdirSync(root).sort(), ['a', 'b', 'c', 'd']);
  assert.equal((await findDuplicates(await list())).length, 1);
});
