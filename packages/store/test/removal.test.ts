import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import {
  constants,
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Readable, Writable } from 'node:stream';
import { test } from 'node:test';
import { eventually } from '@forkpoint/testkit';
import {
  ByteCount,
  ensureHome,
  expired,
  findRubbish,
  isOwnerOver,
  listDirectory,
  ownOwner,
  placesAt,
  removeImage,
  removeRubbish,
  temporaryName,
} from '../src/index.ts';
import type { Retention, Run } from '../src/index.ts';
import { fakeImage, idOf } from './fake-image.ts';
import { temporaryDirectory, writeRun } from './fake-run.ts';

/** All orders of a list. */
function orders<T>(items: readonly T[]): T[][] {
  if (items.length < 2) return [[...items]];
  return items.flatMap((item, index) => orders(items.toSpliced(index, 1)).map((rest) => [item, ...rest]));
}

test('deleting the ancestors of an image in any order leaves it and all others whole', async (t) => {
  const names = ['a', 'b', 'c', 'd'];
  const bytes = Object.fromEntries(names.map((name, index) => [name, Buffer.alloc(5000, index + 1)]));
  for (const order of orders(names)) {
    const root = await temporaryDirectory(t);
    for (const [index, name] of names.entries()) {
      const path = fakeImage(
        root,
        name,
        { id: idOf(index + 1), parentId: index === 0 ? null : idOf(index) },
        {
          [`layers/${name}.pages`]: bytes[name] ?? Buffer.alloc(0),
        },
      );
      for (const earlier of names.slice(0, index))
        linkSync(join(root, earlier, 'layers', `${earlier}.pages`), join(path, 'layers', `${earlier}.pages`));
    }
    for (const [gone, name] of order.entries()) {
      await removeImage(join(root, name));
      for (const left of order.slice(gone + 1)) {
        for (const own of names.slice(0, names.indexOf(left) + 1))
          assert.deepEqual(readFileSync(join(root, left, 'layers', `${own}.pages`)), bytes[own]);
      }
    }
    assert.deepEqual(readdirSync(root), []);
  }
});

test('only images are removed: no other directory, no link, and a damaged image only when forced', async (t) => {
  const root = await temporaryDirectory(t);
  mkdirSync(join(root, 'mine'));
  writeFileSync(join(root, 'mine', 'manifest.json'), '{}');
  const image = fakeImage(root, 'image');
  symlinkSync(image, join(root, 'link'));
  for (const [name, pattern] of [
    ['mine', /is not an image/],
    ['link', /is a symbolic link/],
    ['absent', /there is no image/],
  ] as const) {
    await assert.rejects(removeImage(join(root, name)), pattern);
    if (name !== 'absent') await assert.rejects(removeImage(join(root, name), { isForced: true }), pattern);
  }
  assert.deepEqual(readdirSync(root).sort(), ['image', 'link', 'mine']);
  writeFileSync(join(image, 'restore.plan'), 'torn');
  await assert.rejects(removeImage(image), { hint: 'It looks like a damaged one: remove it with --force' });
  await removeImage(image, { isForced: true });
  assert.equal(existsSync(image), false);
});

test('a retention keeps the newest of each program, the young, and what fits, and never removes what runs', async (t) => {
  const root = await temporaryDirectory(t);
  for (let day = 1; day <= 6; day++) {
    const origin = { run: 'ba9876543210', name: day % 2 === 0 ? 'even' : 'odd' };
    fakeImage(
      root,
      `d${day}`,
      { id: idOf(day), createdAt: `2026-01-0${day}T00:00:00.000Z`, origin },
      {
        'layers/x.pages': Buffer.alloc(1 << 20, day),
      },
    );
  }
  const { images } = await listDirectory(root);
  const nowMs = Date.parse('2026-01-06T12:00:00.000Z');
  const gone = (policy: Retention, busy: string[] = []): string[] =>
    expired(images, policy, { nowMs, isBusy: ({ name }) => busy.includes(name) }).map(
      ({ image }) => image.name,
    );
  assert.deepEqual(gone({}), []);
  assert.deepEqual(gone({ keep: 1 }), ['d1', 'd2', 'd3', 'd4']);
  assert.deepEqual(gone({ keep: 1 }, ['d1', 'd4']), ['d2', 'd3']);
  assert.deepEqual(gone({ maxAgeMs: 2 * 86_400_000 }), ['d1', 'd2', 'd3', 'd4']);
  assert.deepEqual(gone({ quotaBytes: 3.5 * (1 << 20) }), ['d1', 'd2', 'd3']);
  assert.deepEqual(gone({ quotaBytes: 3.5 * (1 << 20) }, ['d2']), ['d1', 'd3', 'd4']);
  assert.deepEqual(gone({ keep: 2, quotaBytes: 2.5 * (1 << 20) }), ['d1', 'd2', 'd3', 'd4']);
});

test('bytes that several images have are freed with the last of them', async (t) => {
  const root = await temporaryDirectory(t);
  fakeImage(root, 'a', { id: idOf(1) }, { 'layers/x.pages': Buffer.alloc(1 << 20, 1) });
  fakeImage(root, 'b', { id: idOf(2) });
  linkSync(join(root, 'a', 'layers/x.pages'), join(root, 'b', 'layers/x.pages'));
  const [a, b] = (await listDirectory(root)).images;
  assert.ok(a !== undefined && b !== undefined);
  const count = new ByteCount([a, b]);
  assert.ok(count.remove(a) < 1 << 20);
  assert.ok(count.remove(b) >= 1 << 20);
  assert.equal(count.totalBytes, 0);
});

test('what dead owners have left goes, what living ones are making stays, and so does what is not known for a day', async (t) => {
  const at = placesAt(await temporaryDirectory(t));
  await ensureHome(at);
  const living = temporaryName('mine', await ownOwner());
  const dead = temporaryName('dead', (await ownOwner()).replace(/-(\d+)-/, '-1-'));
  const elsewhere = temporaryName('far', (await ownOwner()).replace(/\d+$/, '7'));
  const unknown = temporaryName('old', 'ba9876543210');
  for (const name of [living, dead, elsewhere, unknown]) mkdirSync(join(at.images, name));
  utimesSync(join(at.images, unknown), 1, 1);
  mkdirSync(join(at.cache, 'unpacked', `${idOf(1)}-aa`), { recursive: true });
  mkdirSync(join(at.cache, 'unpacked', `${idOf(2)}-bb`));
  mkdirSync(join(at.cache, 'unpacked', `${idOf(3)}-cc`));
  utimesSync(join(at.cache, 'unpacked', `${idOf(1)}-aa`), 1, 1);
  utimesSync(join(at.cache, 'unpacked', `${idOf(3)}-cc`), 1, 1);
  fakeImage(at.images, 'kept', { id: idOf(1) });
  const dir = join(at.runs, 'cccccccccccc');
  mkdirSync(join(dir, 'forks', 'image-x'), { recursive: true });
  mkdirSync(join(dir, 'ctl', 'members', '7'), { recursive: true });
  const killed = { id: 'cccccccccccc', name: 'killed', dir, isAlive: false, launcherPid: 2 ** 30 } as Run;
  const found = await findRubbish(at, {
    runs: [killed],
    imageIds: new Set([idOf(1), idOf(2)]),
    nowMs: Date.now(),
    cacheMs: Number.MAX_SAFE_INTEGER,
  });
  const names = found.map(({ path }) => path.slice(path.lastIndexOf('/') + 1)).sort();
  assert.deepEqual(names, [dead, unknown, `${idOf(3)}-cc`, 'forks', 'ctl'].sort());
  for (const item of found) await removeRubbish(item);
  assert.deepEqual(readdirSync(at.images).sort(), [living, elsewhere, 'kept'].sort());
  assert.equal(await isOwnerOver(await ownOwner(), at.runs), false);
  rmSync(at.home, { recursive: true });
});

test('a run that has told its end and still works on an image is not over', async (t) => {
  const at = placesAt(await temporaryDirectory(t));
  const dir = await writeRun(at.runs, { id: 'abcdefabcdef', launcherPid: process.pid });
  writeFileSync(join(dir, 'state'), 'exited 0\n');
  const fifo = join(dir, 'ctl/request');
  spawnSync('mkfifo', [fifo]);
  const launcher = await open(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  assert.equal(await isOwnerOver('abcdefabcdef', at.runs), false);
  await launcher.close();
  assert.equal(await isOwnerOver('abcdefabcdef', at.runs), true);
});

test('digests that were about to be put in place when their writer was killed go from images of the store and of other directories', async (t) => {
  const root = await temporaryDirectory(t);
  const at = placesAt(join(root, 'home'));
  await ensureHome(at);
  const other = join(root, 'other');
  const drafts = [fakeImage(at.images, 'one'), fakeImage(other, 'two')].map((image) =>
    join(image, 'digests.json.0123456789ab.new'),
  );
  for (const draft of drafts) writeFileSync(draft, '{');
  const given = { runs: [], imageIds: new Set<string>(), nowMs: Date.now(), cacheMs: 0 };
  assert.deepEqual(await findRubbish(at, given, [other]), [], 'somebody may be writing them');
  const found = await findRubbish(at, { ...given, nowMs: given.nowMs + 3_600_000 }, [other]);
  assert.deepEqual(found.map(({ path }) => path).sort(), drafts.sort());
  // Whoever puts them in place, or removes them, while gc looks is in nobody's way.
  let isOver = false;
  const look = async (): Promise<void> => {
    while (!isOver) await findRubbish(at, { ...given, nowMs: Date.now() + 3_600_000 });
  };
  const looks = Promise.all([look(), look(), look()]).catch((error: unknown) => error);
  for (let round = 0; round < 120; round++) {
    await writeFile(drafts[0] ?? '', '{');
    await rm(drafts[0] ?? '');
  }
  isOver = true;
  assert.ok(Array.isArray(await looks), String(await looks));
});

test('an owner that has died is over, though its parent never asked for its end', async () => {
  // exec leaves sleep(1) with a child that it knows nothing of, as in a container whose pid 1 reaps nobody.
  const parent = spawn('sh', ['-c', 'read x <&3 & echo $!; exec 3<&-; exec sleep 60'], {
    stdio: ['ignore', 'pipe', 'ignore', 'pipe'],
  });
  const [line] = (await once(parent.stdout as Readable, 'data')) as [Buffer];
  const pid = Number(line.toString());
  const stat = (): string[] => {
    const text = readFileSync(`/proc/${pid}/stat`, 'utf8');
    return text.slice(text.lastIndexOf(')') + 2).split(' ');
  };
  const isSleep = (): boolean => readFileSync(`/proc/${parent.pid}/comm`, 'utf8') === 'sleep\n';
  await eventually(() => (isSleep() ? true : undefined), 'the start of sleep');
  (parent.stdio[3] as Writable).end();
  await eventually(() => (stat()[0] === 'Z' ? true : undefined), 'the end of the child');
  const namespace = (await ownOwner()).split('-')[2];
  assert.equal(await isOwnerOver(`p${pid}-${stat()[19]}-${namespace}`, '/nowhere'), true);
  parent.kill();
});
