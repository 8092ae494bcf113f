import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { chmodSync, existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, restoreAnywhere, startServer } from './helpers.ts';

/** Only root can be somebody else here; for others the vendor is themselves, with a data directory of its own. */
const isRoot = process.getuid?.() === 0;

const tokenOf = async (port: number) => parse<{ token: string }>(await fetchText(port, '/token')).token;

describe('an image of somebody else', () => {
  let vendor: Person;
  let user: Person;
  let shop: string;
  before(() => {
    vendor = createPerson(isRoot ? 'root' : 'ordinary');
    user = createPerson();
    shop = mkdtempSync(join(tmpdir(), 'fp-shop-'));
  });
  after(async () => {
    await user.leave();
    await vendor.leave();
    rmSync(shop, { recursive: true, force: true });
  });

  test('in a read-only directory is a base: a user restores it, loads more, and keeps an image that needs it no longer', async () => {
    const { run, port } = await startServer(vendor);
    await fetchText(port, '/token/base');
    const base = join(shop, 'base');
    await vendor.json(['checkpoint', run.id, base, '--stop']);
    // What a vendor has to grant: reading the image, and passing through to the mount point in the vendor's data directory.
    assert.equal(spawnSync('chmod', ['-R', 'a+rX,a-w', base]).status, 0);
    for (const directory of [shop, vendor.home]) chmodSync(directory, 0o755);

    const first = await restoreAnywhere(user, base);
    assert.equal(await tokenOf(first.port), 'base');
    await fetchText(first.port, '/token/mine');
    const own = join(user.scratch, 'own');
    const taken = (await user.json(['checkpoint', first.run.id, own, '--stop'])) as {
      sizes: { copied: number };
    };
    assert.equal(taken.sizes.copied, 0, 'the page files of the base were copied once, when it was restored');
    // The second restore uses that copy.
    const second = await restoreAnywhere(user, base);
    assert.equal(await tokenOf(second.port), 'base');
    if (isRoot) {
      // One's own page files are linked instead.
      const copies = readdirSync(join(user.home, 'cache/layers'));
      assert.equal(copies.length, readdirSync(join(base, 'layers')).length);
    }

    // The directories only: files that are linked are those of the other image as well.
    for (const directory of [base, join(base, 'layers')]) chmodSync(directory, 0o755);
    rmSync(base, { recursive: true });
    const mine = await restoreAnywhere(user, own);
    assert.equal(await tokenOf(mine.port), 'mine');
    assert.match(await fetchText(mine.port, '/item/19999'), /value 19999/);
    assert.ok(
      readdirSync(join(own, 'layers')).every((name) => statSync(join(own, 'layers', name)).uid === user.uid),
    );
  });

  test('or on another file system is copied once, which is said', async () => {
    const { run } = await startServer(user);
    const elsewhere = `/dev/shm/forkpoint-test-${process.pid}-base`;
    try {
      await user.json(['checkpoint', run.id, elsewhere, '--stop']);
      const slot = parse<{ slots: { id: string; kind: string }[] }>(
        readFileSync(join(elsewhere, 'manifest.json'), 'utf8'),
      ).slots.find(({ kind }) => kind === 'tcp')?.id;
      const words = ['restore', elsewhere, '-d', '--listen', `${slot}=127.0.0.1:0`];
      const first = await user.finish(words);
      assert.match(
        first.stderr,
        /^Note: \d+ MB of .* were copied into .*\/cache, since it cannot be linked from there/,
      );
      const again = await user.finish(words);
      assert.deepEqual([again.code, again.stderr], [0, '']);
      const back = await user.finish(['checkpoint', first.stdout.trim(), `${elsewhere}-2`, '--stop']);
      assert.match(back.stderr, /Note: .* of earlier images were copied/);
      assert.ok(existsSync(join(`${elsewhere}-2`, 'restore.plan')));
    } finally {
      for (const path of [elsewhere, `${elsewhere}-2`]) rmSync(path, { recursive: true, force: true });
    }
  });
});
