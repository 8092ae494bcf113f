import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, renameSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { decodePrefetchPlan } from '@forkpoint/manifest';
import { createPerson, fetchText, runToEnd } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, restoreAnywhere, startServer } from './helpers.ts';

interface Trained {
  readonly touchedBytes: number;
  readonly layerBytes: number;
  readonly prefetchBytes: number;
}

/** Bytes that restores of an image read ahead from its layers. */
function readAhead(image: string): number {
  const { files } = decodePrefetchPlan(readFileSync(join(image, 'prefetch.plan')));
  const names = new Set(readdirSync(join(image, 'layers')).map((name) => `layers/${name}`));
  const layers = files.filter(({ path }) => path.startsWith('layers/'));
  assert.ok(layers.length > 0 && layers.every(({ path }) => names.has(path)));
  return layers.flatMap(({ ranges }) => ranges).reduce((sum, { length }) => sum + length, 0);
}

const idsOf = async (person: Person) => ((await person.json(['ps'])) as { id: string }[]).map(({ id }) => id);

describe('a trained image', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('reads ahead what its program needed until the probe succeeded, also moved and flattened', async () => {
    const { run, port } = await startServer(person);
    await fetchText(port, '/item/7');
    const image = join(person.scratch, 'warm');
    await person.json(['checkpoint', run.id, image, '--stop']);
    // The probe fails at first, as one that comes before the server does.
    const marker = join(person.scratch, 'asked-once');
    const probe = `[ -e ${marker} ] || { touch ${marker}; exit 1; }; exec "$0" -e 'fetch("http://127.0.0.1:${port}/item/7")'`;
    const trained = (await person.json([
      'train',
      image,
      '--',
      'sh',
      '-c',
      probe,
      process.execPath,
    ])) as Trained;
    assert.ok(trained.touchedBytes > 100_000, JSON.stringify(trained));
    const wanted = readAhead(image);
    assert.ok(wanted >= trained.touchedBytes && wanted <= trained.layerBytes, JSON.stringify(trained));
    assert.deepEqual(await person.json(['ps']), [], 'the run of the training is gone');

    const moved = join(person.scratch, 'moved');
    renameSync(image, moved);
    const layers = readdirSync(join(moved, 'layers')).map((name) => join(moved, 'layers', name));
    const evicted = await person
      .start([join(person.home, 'engine/native/current/launcher'), 'evict', ...layers])
      .end();
    assert.equal(evicted.code, 0, evicted.stderr);
    const clone = await restoreAnywhere(person, moved);
    const resident = await runToEnd(['fincore', '--bytes', '--noheadings', '--output', 'RES', ...layers]);
    const cached = resident.stdout.trim().split(/\s+/).map(Number);
    assert.ok(cached.reduce((sum, bytes) => sum + bytes, 0) >= wanted, `${resident.stdout} of ${wanted}`);
    assert.equal(parse<{ text: string }>(await fetchText(clone.port, '/item/7')).text, 'value 7');

    await person.json(['flatten', moved]);
    // Gaps that were read ahead in the old order are not all neighbours in the new one.
    assert.ok(readAhead(moved) >= trained.touchedBytes && readAhead(moved) <= wanted);
    const flat = await restoreAnywhere(person, moved);
    assert.equal(parse<{ text: string }>(await fetchText(flat.port, '/item/7')).text, 'value 7');
  });

  test('stays as it was when the probe never succeeds, which is said', async () => {
    const { run } = await startServer(person);
    const image = join(person.scratch, 'hopeless');
    await person.json(['checkpoint', run.id, image, '--stop']);
    const running = await idsOf(person);
    const failed = await person.finish(['train', image, '--timeout', '0.3', '--', 'false']);
    assert.equal(failed.code, 1);
    assert.match(failed.stderr, /^Error: The probe `false` did not succeed within 300 ms/);
    assert.equal(existsSync(join(image, 'prefetch.plan')), false);
    assert.deepEqual(await idsOf(person), running);
  });
});
