import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, readdir, readFile, rename, symlink, utimes, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import {
  cleanStale,
  discard,
  openDestination,
  ownerOf,
  publish,
  stateOfPlace,
  temporaryName,
} from '../src/index.ts';
import { temporaryDirectory } from './fake-run.ts';

const ID = '0123456789ab';

/** Swaps two directories; the launcher does it with one system call. */
async function exchange(a: string, b: string): Promise<void> {
  await rename(a, `${a}.x`);
  await rename(b, a);
  await rename(`${a}.x`, b);
}

async function fillImage(directory: string, content: string): Promise<void> {
  await mkdir(directory, { recursive: true });
  await writeFile(join(directory, 'manifest.json'), content);
  await writeFile(join(directory, 'restore.plan'), 'forkpoint-plan:2\0restore\x001\0');
}

test('an image appears at a new place with its parents, and nothing else is left', async (t) => {
  const root = await temporaryDirectory(t);
  const path = join(root, 'a', 'b', 'img');
  const destination = await openDestination(path, ID);
  assert.equal(dirname(destination.temporary), dirname(path));
  assert.equal(existsSync(path), false);
  await fillImage(destination.temporary, 'one');
  await mkdir(join(destination.temporary, 'layers'));
  assert.equal(await publish(destination, { exchange }), 'created');
  assert.equal(await stateOfPlace(path), 'image');
  assert.deepEqual(await readdir(dirname(path)), ['img']);
});

test('an empty directory is filled', async (t) => {
  const path = join(await temporaryDirectory(t), 'img');
  await mkdir(path);
  const destination = await openDestination(path, ID);
  await fillImage(destination.temporary, 'one');
  assert.equal(await publish(destination, { exchange, sync: false }), 'created');
  assert.equal(await readFile(join(path, 'manifest.json'), 'utf8'), 'one');
});

test('an image is replaced by exchange and the old one is removed', async (t) => {
  const root = await temporaryDirectory(t);
  const path = join(root, 'img');
  await fillImage(path, 'old');
  const destination = await openDestination(path, ID);
  await fillImage(destination.temporary, 'new');
  assert.equal(await publish(destination, { exchange }), 'replaced');
  assert.equal(await readFile(join(path, 'manifest.json'), 'utf8'), 'new');
  assert.deepEqual(await readdir(root), ['img']);
});

test('a symbolic link to an image stays a link', async (t) => {
  const root = await temporaryDirectory(t);
  await fillImage(join(root, 'real'), 'old');
  await symlink('real', join(root, 'link'));
  const destination = await openDestination(join(root, 'link'), ID);
  await fillImage(destination.temporary, 'new');
  await publish(destination, { exchange });
  assert.equal(await readFile(join(root, 'real', 'manifest.json'), 'utf8'), 'new');
  assert.deepEqual((await readdir(root)).sort(), ['link', 'real']);
});

test('when the exchange fails the old image stays, and discarding leaves nothing behind', async (t) => {
  const root = await temporaryDirectory(t);
  const path = join(root, 'img');
  await fillImage(path, 'old');
  const destination = await openDestination(path, ID);
  await fillImage(destination.temporary, 'new');
  const failing = (): Promise<void> =>
    Promise.reject(Object.assign(new Error('EIO: i/o error, renameat2'), { code: 'EIO' }));
  await assert.rejects(publish(destination, { exchange: failing }), {
    code: 'ERR_FORKPOINT_PUBLISH',
    message: /i\/o error$/,
  });
  await discard(destination);
  assert.equal(await readFile(join(path, 'manifest.json'), 'utf8'), 'old');
  assert.deepEqual(await readdir(root), ['img']);
});

test('discarding removes the parents that were made, but none that is in use', async (t) => {
  const root = await temporaryDirectory(t);
  const first = await openDestination(join(root, 'a', 'b', 'img'), ID);
  await discard(first);
  assert.deepEqual(await readdir(root), []);
  const second = await openDestination(join(root, 'a', 'b', 'img'), ID);
  await writeFile(join(root, 'a', 'mine'), '');
  await discard(second);
  assert.deepEqual(await readdir(join(root, 'a')), ['mine']);
});

test('what is not an image is refused and stays', async (t) => {
  const root = await temporaryDirectory(t);
  await mkdir(join(root, 'full'));
  await writeFile(join(root, 'full', 'precious'), '');
  await writeFile(join(root, 'file'), '');
  await mkdir(join(root, 'extension'));
  await writeFile(join(root, 'extension', 'manifest.json'), '{}');
  await writeFile(join(root, 'extension', 'restore.plan'), 'nothing');
  await symlink('nowhere', join(root, 'dangling'));
  for (const name of ['full', 'file', 'extension', 'dangling', 'file/below']) {
    await assert.rejects(openDestination(join(root, name), ID), { code: 'ERR_FORKPOINT_DESTINATION' }, name);
  }
  assert.deepEqual((await readdir(root)).sort(), ['dangling', 'extension', 'file', 'full']);
});

test('a place that turns foreign in the meantime is not touched', async (t) => {
  const path = join(await temporaryDirectory(t), 'img');
  const destination = await openDestination(path, ID);
  await mkdir(path);
  await writeFile(join(path, 'precious'), '');
  await assert.rejects(publish(destination, { exchange }), { code: 'ERR_FORKPOINT_DESTINATION' });
  assert.deepEqual(await readdir(path), ['precious']);
});

test('a destination that cannot be written is named with the reason', async () => {
  await assert.rejects(openDestination('/proc/forkpoint/img', ID), {
    code: 'ERR_FORKPOINT_DESTINATION',
    message: /\/proc\/forkpoint\/img/,
  });
});

test('temporary names carry their owner and fit in a directory entry', () => {
  assert.equal(ownerOf(temporaryName('img', ID)), ID);
  assert.equal(ownerOf(temporaryName('ü'.repeat(120), ID)), ID);
  assert.ok(Buffer.byteLength(temporaryName('x'.repeat(255), ID)) <= 255);
  for (const name of ['img', '.img.tmp', `.img.forkpoint-${ID}.tmp`, `.forkpoint-${ID}-00000000.tmp`]) {
    assert.equal(ownerOf(name), undefined, name);
  }
});

test('leftovers of ended runs are removed, those of living ones and young strangers stay', async (t) => {
  const root = await temporaryDirectory(t);
  const names = ['000000000001', '000000000002', '000000000003', '000000000004'].map((id) =>
    temporaryName('img', id),
  );
  for (const name of names) await mkdir(join(root, name));
  await mkdir(join(root, 'other'));
  await utimes(join(root, names[3] ?? ''), 1, 1);
  const removed = await cleanStale(root, (id) =>
    Promise.resolve({ '000000000001': true, '000000000002': false }[id]),
  );
  assert.deepEqual(
    removed.map((path) => path.slice(root.length + 1)).sort(),
    [names[0] ?? '', names[3] ?? ''].sort(),
  );
  assert.deepEqual((await readdir(root)).sort(), [names[1] ?? '', names[2] ?? '', 'other'].sort());
});

test('leftovers vanish at once, so that an owner who lives after all publishes nothing that is half gone', async (t) => {
  const root = await temporaryDirectory(t);
  const path = join(root, temporaryName('img', '000000000001'));
  await mkdir(path);
  const files = Array.from({ length: 500 }, (_, i) => join(path, `pages-${i}.img`));
  await Promise.all(files.map((file) => writeFile(file, '')));
  let isGone = false;
  const removed = cleanStale(root, () => Promise.resolve(true)).finally(() => (isGone = true));
  const seen = new Set<number>();
  while (!isGone) seen.add((await readdir(path).catch(() => [])).length);
  assert.deepEqual(await removed, [path]);
  seen.delete(0);
  seen.delete(files.length);
  assert.deepEqual([...seen], [], 'whole or not there');
  assert.deepEqual(await readdir(root), []);
});
