// Everybody who runs the tests is somebody: root makes the round trip as root, others as themselves.
import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, randoms, restoreAnywhere, startServer, tokens } from './helpers.ts';
import { shell } from './pods.ts';

const isRoot = process.getuid?.() === 0;

describe(`whoever runs these tests (${isRoot ? 'root' : 'an ordinary user'})`, () => {
  let person: Person;
  before(() => {
    person = createPerson(isRoot ? 'root' : 'ordinary');
  });
  after(async () => await person.leave());

  test('checkpoints a warm server, restores it twice at once, and again from a clone', async () => {
    const { run, port } = await startServer(person);
    const item = await fetchText(port, '/item/11');
    assert.equal(parse<{ hits: number }>(await fetchText(port)).hits, 1);
    await person.json(['checkpoint', run.id, './warm']);
    const image = join(person.scratch, 'warm');
    const [one, two] = await Promise.all([restoreAnywhere(person, image), restoreAnywhere(person, image)]);
    const seen = [
      ...tokens(await randoms(one.port)),
      ...tokens(await randoms(two.port)),
      ...tokens(await randoms(port)),
    ];
    assert.equal(new Set(seen).size, seen.length, 'no random value appears twice');
    for (const clone of [one, two]) {
      assert.equal(await fetchText(clone.port, '/item/11'), item);
      assert.equal(parse<{ hits: number }>(await fetchText(clone.port)).hits, 2);
    }
    await person.json(['checkpoint', one.run.id, './second', '--stop']);
    const again = await restoreAnywhere(person, join(person.scratch, 'second'));
    assert.equal(again.run.generation, 2);
    assert.equal(parse<{ hits: number }>(await fetchText(again.port)).hits, 3);
    assert.equal(parse<{ uid: number }>(await fetchText(again.port, '/state')).uid, person.uid);
  });

  test('has no capability in the pod, before and after a restore', async () => {
    const look = 'id -u; grep -E "^Cap(Inh|Prm|Eff|Bnd|Amb)" /proc/$$/status';
    const run = await person.finish(['run', '--', ...shell(`${look}; ask ./look; ${look}`)]);
    const restored = await person.finish(['restore', './look']);
    assert.equal(restored.code, 0, restored.stderr);
    assert.equal(run.stdout, restored.stdout);
    assert.match(run.stdout, new RegExp(`^${person.uid}\n(Cap...:\t0{16}\n){5}$`));
  });
});
