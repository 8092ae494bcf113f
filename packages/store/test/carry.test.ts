import assert from 'node:assert/strict';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { rename } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  amendImage,
  compressImage,
  decompressImage,
  readDigests,
  recordDigests,
  repairImage,
  upgradeImage,
  verifyImage,
} from '../src/index.ts';
import type { CompressOptions } from '../src/index.ts';
import { fakeImage } from './fake-image.ts';
import { temporaryDirectory } from './fake-run.ts';

const LAYER = 'layers/00000000000a-50.pages';
const PAGES = { 'pages-1.img': Buffer.alloc(20_000, 'abc'), [LAYER]: Buffer.alloc(70_000, 'x1') };

/** Swaps two directories; not atomic, which these tests do not look at. */
async function exchange(a: string, b: string): Promise<void> {
  await rename(a, `${a}.x`);
  await rename(b, a);
  await rename(`${a}.x`, b);
}

const options: CompressOptions = { exchange, addon: '/no/addon', sync: false };

async function problemsOf(image: string): Promise<string[]> {
  const { hasDigests, problems } = await verifyImage(image);
  assert.ok(hasDigests, `${image} has no digests`);
  return problems.map(({ kind, file }) => `${kind} ${file}`).sort();
}

test('an image that is written anew has digests, whatever rewrites it and whether it had some', async (t) => {
  const root = await temporaryDirectory(t);
  const fresh = (name: string): string => fakeImage(root, name, {}, PAGES);
  const packed = fresh('packed');
  await compressImage(packed, options);
  assert.deepEqual(await problemsOf(packed), []);
  await decompressImage(packed, options);
  assert.deepEqual(await problemsOf(packed), []);
  const old = join(root, 'old');
  cpSync(join(import.meta.dirname, 'fixtures/format-1'), old, { recursive: true });
  assert.equal(await upgradeImage(old, options), true);
  assert.deepEqual(await problemsOf(old), []);
  const amended = fresh('amended');
  for (const _ of ['without digests', 'with digests']) {
    await amendImage(amended, new Map([['prefetch.plan', Buffer.from('plan')]]), { exchange });
    assert.deepEqual(await problemsOf(amended), []);
  }
  const short = fresh('short');
  await compressImage(short, options);
  cpSync(short, join(root, 'copy'), { recursive: true });
  rmSync(join(short, 'digests.json'));
  truncateSync(join(short, `${LAYER}.zst`), 10);
  const { problems } = await verifyImage(short);
  const directories = [join(root, 'copy')];
  // The content of a compressed layer is known to the manifest.
  await decompressImage(join(root, 'copy'), options);
  assert.equal((await repairImage(short, problems, { ...options, directories })).repaired.length, 1);
  assert.deepEqual(await problemsOf(short), []);
});

test('damage does not come to count as good when an image is written anew', async (t) => {
  const root = await temporaryDirectory(t);
  const make = async (name: string, harm: (image: string) => void): Promise<string> => {
    const image = fakeImage(root, name, {}, PAGES);
    await recordDigests(image);
    harm(image);
    return image;
  };
  const change = (file: string) => (image: string) => {
    const bytes = readFileSync(join(image, file));
    bytes[bytes.length - 1] = (bytes.at(-1) ?? 0) ^ 1;
    writeFileSync(join(image, file), bytes);
  };
  const layer = await make('layer', change(LAYER));
  await assert.rejects(compressImage(layer, options), {
    code: 'ERR_FORKPOINT_DIGEST',
    message: `${LAYER} of ${layer} has other content than when the image was taken`,
  });
  assert.deepEqual(await problemsOf(layer), [`content ${LAYER}`]);
  const stale = await make('stale', (image) => {
    const path = join(image, 'manifest.json');
    writeFileSync(path, readFileSync(path, 'utf8').replace('"shop"', '"spoh"'));
  });
  await assert.rejects(compressImage(stale, options), /manifest\.json of .* has other content/);
  await assert.rejects(amendImage(stale, new Map(), { exchange }), /manifest\.json of .* has other content/);
  const kept = await make('kept', (image) => {
    change('pstree.img')(image);
    rmSync(join(image, 'restore'));
    writeFileSync(join(image, 'core-1.img'), 'new');
  });
  const found = ['content pstree.img', 'missing restore', 'unexpected core-1.img'];
  assert.deepEqual(await problemsOf(kept), found);
  await compressImage(kept, options);
  assert.deepEqual(await problemsOf(kept), found);
  await decompressImage(kept, options);
  await amendImage(kept, new Map([['prefetch.plan', Buffer.from('plan')]]), { exchange });
  assert.deepEqual(await problemsOf(kept), found);
  assert.deepEqual(readdirSync(root).sort(), ['kept', 'layer', 'stale']);
});

test('digests that nobody can read count as none', async (t) => {
  const root = await temporaryDirectory(t);
  const image = fakeImage(root, 'image', {}, PAGES);
  writeFileSync(join(image, 'digests.json'), '{');
  await assert.rejects(readDigests(image), /digests\.json is not usable/);
  await compressImage(image, options);
  assert.deepEqual(await problemsOf(image), []);
  assert.ok(existsSync(join(image, 'digests.json')));
});
