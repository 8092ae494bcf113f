import assert from 'node:assert/strict';
import { chmodSync, readdirSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { openContents, readManifest } from '@forkpoint/store';
import { createPerson, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, restoreAnywhere, startServer } from './helpers.ts';
import { living } from './pods.ts';

/** Bytes of the files directly in an image and of its layers. */
function sizesOf(image: string): { own: number; layers: number } {
  const sizes = (directory: string, pattern: RegExp) =>
    readdirSync(directory)
      .filter((name) => pattern.test(name))
      .reduce((sum, name) => sum + statSync(join(directory, name)).size, 0);
  return { own: sizes(image, /^pages-\d+\.img$/), layers: sizes(join(image, 'layers'), /\.pages$/) };
}

/** A random order that the printed seed repeats. */
function shuffled<T>(items: readonly T[], seed: number): T[] {
  let state = seed;
  const keyed = items.map((item) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return { item, key: state };
  });
  return keyed.sort((a, b) => a.key - b.key).map(({ item }) => item);
}

const hits = async (port: number) => parse<{ hits: number }>(await fetchText(port)).hits;

describe('a linked image', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('holds at least 95% of a warm Node server’s pages in layers, which clones map', async () => {
    const { run } = await startServer(person);
    await person.json(['checkpoint', run.id, './shared']);
    const image = join(person.scratch, 'shared');
    const { own, layers } = sizesOf(image);
    assert.ok((layers - own) / layers >= 0.95, `${own} of ${layers} bytes are not linked`);
    const clone = await restoreAnywhere(person, image);
    const found = (await living(person)).find(({ id }) => id === clone.run.id);
    const maps = readFileSync(`/proc/${found?.hostPid}/maps`, 'utf8');
    assert.match(maps, /\/layers\/[0-9a-f]+-\d+\.pages$/m);
    assert.match(await fetchText(clone.port, '/item/19999'), /value 19999/);
  });

  test('what a clone has written to is shared by its children, but for single pages', async () => {
    const { run } = await startServer(person);
    await person.json(['checkpoint', run.id, './written', '--stop']);
    const clone = await restoreAnywhere(person, join(person.scratch, 'written'));
    for (let item = 0; item < 20; item++) await fetchText(clone.port, `/item/${item}`);
    const [child] = (await person.json(['fork', clone.run.id, '-d'])) as { id: string }[];
    const image = join(person.home, 'runs', child?.id ?? '', 'image');
    const { processes } = await readManifest(image);
    const opened = await openContents(image, processes[0]?.pid ?? 0);
    opened.close();
    const { contents, memories } = opened;
    const copied = contents.areas
      .filter(({ kept }) => kept === 'changed')
      .flatMap(({ pid, start, end }) => {
        const [from, to] = [start, end].map((text) => Number.parseInt(text, 16)) as [number, number];
        const { runs = [] } = memories.get(pid) ?? {};
        return runs.filter(
          ({ address, firstPage }) => from <= address && address < to && firstPage !== undefined,
        );
      });
    assert.ok(copied.length > 0, 'it has written to pages here and there');
    assert.deepEqual([...new Set(copied.map(({ pageCount }) => pageCount))], [1]);
  });

  test('depends on nothing: images are moved and deleted under running programs, which checkpoint again', async () => {
    const { run } = await startServer(person);
    const [base, moved, next] = ['base', 'moved', 'next'].map((name) => join(person.scratch, name)) as [
      string,
      string,
      string,
    ];
    await person.json(['checkpoint', run.id, base, '--stop']);
    renameSync(base, moved);
    const [layer = ''] = readdirSync(join(moved, 'layers'));
    const { ino } = statSync(join(moved, 'layers', layer));
    const first = await restoreAnywhere(person, moved);
    rmSync(moved, { recursive: true });
    assert.match(await fetchText(first.port, '/item/12345'), /value 12345/);
    const taken = (await person.json(['checkpoint', first.run.id, next, '--stop'])) as { generation: number };
    assert.equal(taken.generation, 1);
    assert.equal(statSync(join(next, 'layers', layer)).ino, ino, 'what has not changed is not written again');
    // As whoever opens another image to others with chmod -R, since both have this file.
    chmodSync(join(next, 'layers', layer), 0o444);
    const second = await restoreAnywhere(person, next);
    assert.match(await fetchText(second.port, '/item/12345'), /value 12345/);
    assert.equal(await hits(second.port), 1);
  });

  test('goes to another file system, where its layers are copies', async () => {
    const { run } = await startServer(person);
    await person.json(['checkpoint', run.id, './here', '--stop']);
    const clone = await restoreAnywhere(person, join(person.scratch, 'here'));
    const elsewhere = `/dev/shm/forkpoint-test-${process.pid}`;
    try {
      await person.json(['checkpoint', clone.run.id, elsewhere, '--stop']);
      const again = await restoreAnywhere(person, elsewhere);
      assert.match(await fetchText(again.port, '/item/7'), /value 7/);
    } finally {
      rmSync(elsewhere, { recursive: true, force: true });
    }
  });
});

describe('JDK-8339663: images over each other on one path', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('linked and not linked, full and incremental, larger and smaller, twelve times in random order: each restores with its own state', async (context) => {
    const seed = Date.now() % 1_000_000;
    context.diagnostic(`seed ${seed}`);
    const { run, port } = await startServer(person);
    const path = join(person.scratch, 'one-path');
    await person.json(['checkpoint', run.id, path]);
    const oldest = await restoreAnywhere(person, path);
    // A checkpoint of the first run is a full one, one of the restored run holds only what changed.
    const sources = [
      { id: run.id, port },
      { id: oldest.run.id, port: oldest.port },
    ];
    const kinds = sources.flatMap((source) =>
      [[], ['--no-link']].flatMap((flags) => [1, 24].map((ballast) => ({ source, flags, ballast }))),
    );
    const twelve = shuffled([...kinds, ...shuffled(kinds, seed + 1).slice(0, 4)], seed);
    for (const [index, { source, flags, ballast }] of twelve.entries()) {
      const token = `token-${index}`;
      await fetchText(source.port, `/token/${token}`);
      await fetchText(source.port, `/ballast/${ballast}`);
      await person.json(['checkpoint', source.id, path, ...flags]);
      const restored = await restoreAnywhere(person, path);
      assert.deepEqual(parse(await fetchText(restored.port, '/token')), { token, ballast });
      await person.finish(['kill', restored.run.id, '--signal', 'KILL']);
    }
    assert.match(
      await fetchText(oldest.port, '/item/19999'),
      /value 19999/,
      'the oldest restore answers to the end',
    );
    assert.deepEqual(
      readdirSync(person.scratch).filter((name) => name.includes('.tmp')),
      [],
    );
  });
});
