import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync, statSync, truncateSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { restoreAnywhere, startServer } from './helpers.ts';
import { filesBelow } from './image-digest.ts';
import { command, detach, digested, logged, logOf, revive, signal } from './pods.ts';

/** An image as `ls --json` and `tree --json` tell it. */
interface Shown {
  readonly name: string;
  readonly path: string;
  readonly id: string;
  readonly ownBytes: number;
  readonly sharedBytes: number;
  readonly compression: string | null;
  readonly runs: readonly { readonly name: string }[];
  readonly children: readonly Shown[];
}

/** A verification as `verify --json` tells it. */
interface Verified {
  readonly hasDigests: boolean;
  readonly problems: readonly { readonly kind: string; readonly file: string }[];
  readonly repaired: readonly { readonly from: string }[];
}

/** How often the stored program had spoken when its image was taken. */
const TICKS = 45;

/** Asks a pulse program for a sign of life and returns the digest of its memory. */
async function beat(person: Person, id: string): Promise<string> {
  const before = [...logOf(person, id).matchAll(/^beat /gm)].length;
  signal(person, id, 'SIGUSR1');
  return await eventually(
    () => [...logOf(person, id).matchAll(/^beat \d+ ([0-9a-f]+)$/gm)][before]?.[1],
    `run ${id} answering`,
  );
}

async function succeed(person: Person, ...words: string[]): Promise<string> {
  const { code, stdout, stderr } = await person.finish(words);
  assert.equal(code, 0, `${words.join(' ')}: ${stderr}${stdout}`);
  return stdout;
}

describe('the images of a store', () => {
  let person: Person;
  let digest: string;
  before(async () => {
    person = createPerson();
    const id = await detach(
      person,
      [nodeBinary(24), programPath('pulse.mjs'), 'big', '8'],
      ['--name', 'pulse'],
    );
    await logged(person, id, /^up$/m);
    digest = await beat(person, id);
    await person.json(['checkpoint', id, 'base', '--label', 'app=pulse']);
    await person.json(['checkpoint', id, 'packed', '--compress', '--label', 'app=packed', '--stop']);
  });
  after(async () => await person.leave());

  test('a compressed one restores, the second time from the cache, whose pages both share', async () => {
    const { layers } = (await person.json(['inspect', 'packed'])) as { layers: { compression: string }[] };
    assert.ok(layers.every(({ compression }) => compression === 'zstd'));
    const clones = [await revive(person, 'packed'), await revive(person, 'packed')];
    for (const clone of clones) assert.equal(await beat(person, clone), digest);
    const cached = readdirSync(join(person.home, 'cache/unpacked'));
    assert.equal(cached.length, 1);
    const inodes = clones.map((clone) => {
      const directory = join(person.home, 'runs', clone, 'ctl/layers');
      return readdirSync(directory).map((name) => statSync(join(directory, name)).ino);
    });
    assert.deepEqual(inodes[0], inodes[1]);
    for (const clone of clones) await succeed(person, 'kill', clone, '--signal', 'KILL');
  });

  test('are listed with what runs from them, stand in their lineage, and differ where the program went on', async () => {
    const clone = await revive(person, 'base', ['--name', 'clone']);
    await beat(person, clone);
    await person.json(['checkpoint', clone, 'next']);
    const listed = (await person.json(['ls', '--label', 'app=pulse'])) as Shown[];
    assert.deepEqual(
      listed.map(({ name, runs }) => [name, runs.map((run) => run.name)]),
      [['base', ['clone']]],
    );
    const trees = (await person.json(['tree'])) as Shown[];
    const base = trees.find(({ name }) => name === 'base');
    const [next] = base?.children ?? [];
    assert.equal(next?.name, 'next');
    assert.ok(next.sharedBytes > 8 << 20, 'the blocks of the program are stored once');
    const compared = (await person.json(['diff', 'base', 'next'])) as {
      pages: { compared: number; changed: number };
      processes: { added: unknown[]; removed: unknown[] };
    };
    assert.deepEqual([compared.processes.added, compared.processes.removed], [[], []]);
    const { changed, compared: pages } = compared.pages;
    assert.ok(changed > 0 && changed < pages / 10, `${changed} of ${pages} pages`);
    const packed = (await person.json(['diff', 'base', 'packed'])) as typeof compared;
    assert.ok(packed.pages.changed < pages / 10);
    const used = (await person.json(['du'])) as { totalBytes: number; images: Shown[] };
    assert.ok(used.totalBytes < used.images.reduce((sum, one) => sum + one.ownBytes + one.sharedBytes, 0));
    assert.match(await succeed(person, 'tree'), /^base .*\n└─ next /m);
  });

  test('a run is restored from the newest image with a label, and unknown labels are told', async () => {
    const { code, stdout, stderr } = await person.finish(['restore', '--label', 'app=pulse', '-d']);
    assert.equal(code, 0, stderr);
    assert.equal(await beat(person, stdout.trim()), digest);
    await succeed(person, 'kill', stdout.trim());
    const unknown = await person.finish(['restore', '--label', 'app=nothing', '-d']);
    assert.equal(unknown.code, 125);
    assert.match(unknown.stderr, /no image of the store has the label app=nothing/i);
  });

  test('have digests soon after they were taken; damage is found, named, and repaired from another image', async () => {
    await eventually(
      () => (['base', 'next', 'packed'].every(hasDigests) ? true : undefined),
      'the digests of all images',
      60_000,
    );
    await succeed(person, 'verify');
    const layers = join(person.home, 'images/next/layers');
    const name = readdirSync(layers).find((one) => statSync(join(layers, one)).size > 8 << 20) ?? '';
    // What is shared is one file: the damage is in a copy.
    const shared = join(layers, name);
    const copy = readFileSync(shared);
    copy[copy.length - 5] = (copy[copy.length - 5] ?? 0) ^ 1;
    await succeed(person, 'rm', 'packed');
    const damage = async (): Promise<void> => {
      const replaced = person.start(['sh', '-c', 'rm "$0" && cat > "$0" && chmod 600 "$0"', shared]);
      replaced.child.stdin?.end(copy);
      assert.equal((await replaced.end()).code, 0);
    };
    await damage();
    const { code, stdout } = await person.finish(['verify', 'next', '--json']);
    const [found] = JSON.parse(stdout) as Verified[];
    assert.deepEqual([code, found?.problems.map(({ file }) => file)], [1, [`layers/${name}`]]);
    const [repaired] = (await person.json(['verify', 'next', '--repair'])) as Verified[];
    assert.deepEqual([repaired?.problems, repaired?.repaired.length], [[], 1]);
    // Without another image that has it, what a program runs from is as good.
    const [base, aside] = [join(person.home, 'images/base'), join(person.scratch, 'base')];
    renameSync(base, aside);
    await damage();
    const [again] = (await person.json(['verify', 'next', '--repair'])) as Verified[];
    assert.deepEqual(again?.problems, []);
    assert.match(again.repaired[0]?.from ?? '', /\/runs\/[0-9a-f]{12}\/ctl\/layers\//);
    renameSync(aside, base);
    truncateSync(join(person.home, 'images/next/restore.plan'), 100);
    const { stdout: torn } = await person.finish(['verify', 'next']);
    assert.match(torn, /restore\.plan/);
  });

  const hasDigests = (name: string): boolean => existsSync(join(person.home, 'images', name, 'digests.json'));

  test('go when nothing runs from them; what killed commands have left goes with gc', async () => {
    const busy = await person.finish(['rm', 'base']);
    assert.equal(busy.code, 1);
    assert.match(busy.stderr, /programs run from the image .*\nCaused by: Clone/i);
    await succeed(person, 'rm', 'base', '--dry-run', '--force');
    const full = await person.finish(['gc', '--dry-run', '--quota', '1MB']);
    assert.match(
      full.stderr,
      /^Note: images of \d.* stay, which is over the quota: programs run from them\.$/m,
    );
    await succeed(person, 'rm', 'base', 'next', '--force');
    await beat(person, ((await person.json(['ps'])) as { id: string }[])[0]?.id ?? '');
    await succeed(person, 'gc', '--cache-age', '0s');
    assert.deepEqual(readdirSync(join(person.home, 'images')), []);
    assert.equal((await succeed(person, 'ls', '--json')).trim(), '[]');
  });
});

describe('JDK-8339663 again, with compression: images over each other on one path', () => {
  test('plain, linked, incremental and compressed, in random order, 25 times: each restores with its own state', async (context) => {
    const person = createPerson();
    const seed = Date.now() % 1_000_000;
    context.diagnostic(`seed ${seed}`);
    try {
      const { run, port } = await startServer(person);
      const path = join(person.scratch, 'one-path');
      await person.json(['checkpoint', run.id, path]);
      // Every restore lives to the end, whatever comes to lie at the path that it was restored from.
      const first = await restoreAnywhere(person, path);
      const alive = [{ id: first.run.id, port: first.port, count: await hits(first.port), generation: 1 }];
      for (const [round, kind] of kindsInOrder(seed).entries()) {
        // An incremental image is one of a restored program: of the newest, so that generations come to lie on each other.
        const source = kind.isIncremental ? alive.at(-1) : { id: run.id, port, count: 0, generation: 0 };
        assert.ok(source !== undefined);
        const count = await hits(source.port);
        source.count = count;
        const taken = (await person.json(['checkpoint', source.id, path, ...kind.flags])) as Taken;
        assert.equal(taken.generation, source.generation);
        if (kind.isTurned)
          await person.json([kind.flags.includes('--compress') ? 'decompress' : 'compress', path]);
        const restored = await restoreAnywhere(person, path);
        assert.equal(await hits(restored.port), count + 1, `round ${round}: ${JSON.stringify(kind)}`);
        alive.push({
          id: restored.run.id,
          port: restored.port,
          count: count + 1,
          generation: source.generation + 1,
        });
        for (const one of alive) assert.equal(await hits(one.port), ++one.count, `round ${round}: ${one.id}`);
      }
      assert.equal(alive.length, 26);
      assert.ok(
        alive.some(({ generation }) => generation >= 3),
        'no chain of images',
      );
      for (const one of alive) assert.match(await fetchText(one.port, '/item/19999'), /value 19999/);
      assert.deepEqual(
        readdirSync(person.scratch).filter((name) => name.includes('.tmp')),
        [],
      );
    } finally {
      await person.leave();
    }
  });
});

interface Taken {
  readonly generation: number;
}

/** A way to take an image. */
interface Kind {
  readonly isIncremental: boolean;
  readonly flags: readonly string[];
  /** Whether the image is compressed, or decompressed, where it lies. */
  readonly isTurned: boolean;
}

/** Returns every kind at least three times, 25 in all, in an order that depends on the seed. */
function kindsInOrder(seed: number): Kind[] {
  const forms = [[], ['--no-link'], ['--compress'], ['--no-link', '--compress']];
  const kinds = [false, true].flatMap((isIncremental) => forms.map((flags) => ({ isIncremental, flags })));
  const random = randomFrom(seed);
  return Array.from({ length: 25 }, (_, index) => kinds[index % kinds.length])
    .filter((kind) => kind !== undefined)
    .map((kind) => ({ kind: { ...kind, isTurned: random() < 0.2 }, at: random() }))
    .sort((a, b) => a.at - b.at)
    .map(({ kind }) => kind);
}

/** Returns numbers from 0 up to 1 (xorshift; the lowest bits of a linear generator repeat after a few). */
function randomFrom(seed: number): () => number {
  let state = seed | 1;
  return () => {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}

async function hits(port: number): Promise<number> {
  return (JSON.parse(await fetchText(port, '/')) as { hits: number }).hits;
}

// What the previous format's forkpoint wrote is in the repository, with the program: 1 KB, since it needs no libc. Its paths are below
// /srv, where everybody may put what he likes in a mount namespace of his own; and it can only be restored by the uid that took it.
test('an image of the previous format restores as it is, compressed, and upgraded, and the program goes on in all of them', async () => {
  const person = createPerson();
  const fixtures = join(root, 'packages/store/test/fixtures');
  const program = join(fixtures, 'format-1-program/tiny');
  const prepare =
    'mount -t tmpfs none /srv && mkdir -p /srv/t/data/pod && cp "$0" /srv/t/tiny && chmod 755 /srv/t/tiny' +
    " && touch -d '2026-01-02 03:04:05 UTC' /srv/t/tiny" +
    ' && exec unshare --map-user=61001 --map-group=61001 -- "$@"';
  const restore = async (image: string): Promise<void> => {
    const words = ['unshare', '-Urm', 'sh', '-c', prepare, program, command, 'restore', image, '-d'];
    const { code, stdout, stderr } = await person.start(words).end();
    assert.equal(code, 0, `${image}: ${stderr}`);
    // It had counted so far when its image was taken, and it has looked at all of its memory.
    const [, tick] = await logged(person, stdout.trim(), /^tick (\d+) right$/m);
    assert.equal(Number(tick), TICKS + 1, image);
    assert.doesNotMatch(logOf(person, stdout.trim()), /wrong/);
    await succeed(person, 'kill', stdout.trim(), '--signal', 'KILL');
  };
  try {
    for (const name of ['old', 'packed', 'upgraded']) {
      const copied = await person.start(['cp', '-r', join(fixtures, 'format-1'), `./${name}`]).end();
      assert.equal(copied.code, 0, copied.stderr);
    }
    await restore('./old');
    await succeed(person, 'compress', './packed');
    await restore('./packed');
    await succeed(person, 'upgrade', './upgraded');
    await restore('./upgraded');
    await succeed(person, 'verify', './packed', './upgraded');
    const versions = ['old', 'packed', 'upgraded'].map((name) => {
      const text = readFileSync(join(person.scratch, name, 'manifest.json'), 'utf8');
      return (JSON.parse(text) as { formatVersion: number }).formatVersion;
    });
    assert.deepEqual(versions, [1, 2, 2], 'a restore changes nothing');
  } finally {
    await person.leave();
  }
});

test('two users share a store that neither may write to: each restores, reads and compares at once, and changes nothing', async () => {
  const owner = createPerson();
  const guest = createPerson('other');
  const shared = join(owner.scratch, 'shared');
  const chmod = async (...words: string[]): Promise<void> => {
    const { code, stderr } = await owner.start(['chmod', ...words]).end();
    assert.equal(code, 0, stderr);
  };
  try {
    await owner.start(['mkdir', shared]).end();
    // What docs/image-format.md asks for: a way to the image, and to the mount point in the data directory.
    await chmod('a+rx', owner.scratch, owner.home);
    const id = await detach(owner, [nodeBinary(24), programPath('pulse.mjs'), 'big', '4']);
    await logged(owner, id, /^up$/m);
    const digest = await beat(owner, id);
    await owner.json(['checkpoint', id, './shared/plain']);
    await owner.json(['checkpoint', id, './shared/packed', '--compress', '--stop']);
    for (const name of ['plain', 'packed']) await digested(join(shared, name));
    await chmod('-R', 'a+rX,a-w', shared);
    const work = [owner, guest].flatMap((person) => [
      ...['plain', 'packed'].map(async (name) => {
        const run = await revive(person, join(shared, name));
        assert.equal(await beat(person, run), digest, `${name} of ${person.uid}`);
      }),
      succeed(person, 'verify', join(shared, 'plain'), join(shared, 'packed')),
      succeed(person, 'diff', join(shared, 'plain'), join(shared, 'packed')),
      succeed(person, 'tree', shared),
    ]);
    await Promise.all(work);
    const before = filesBelow(shared).map((name) => statSync(join(shared, name)).ino);
    for (const words of [
      ['compress', 'plain'],
      ['decompress', 'packed'],
      ['flatten', 'plain'],
      ['rm', 'plain', '--force'],
    ]) {
      const [verb = '', name = '', ...flags] = words;
      const { code, stderr } = await guest.finish([verb, join(shared, name), ...flags]);
      assert.equal(code, 1, `${verb}: ${stderr}`);
      assert.match(stderr, /permission denied|not permitted|read-only/i, verb);
    }
    assert.deepEqual(
      filesBelow(shared).map((name) => statSync(join(shared, name)).ino),
      before,
    );
    assert.deepEqual(readdirSync(shared).sort(), ['packed', 'plain']);
    // Its owner may remove or replace what nobody may write to, as soon as the place may be written to.
    await chmod('u+w', shared);
    await succeed(owner, 'compress', join(shared, 'plain'));
    await succeed(owner, 'rm', join(shared, 'packed'), '--force');
    assert.deepEqual(readdirSync(shared), ['plain']);
  } finally {
    await chmod('-R', 'u+w', shared).catch(() => undefined);
    await owner.leave();
    await guest.leave();
  }
});
