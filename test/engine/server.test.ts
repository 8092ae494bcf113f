import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { get } from 'node:http';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, randoms, restoreAnywhere, startServer, tokens } from './helpers.ts';

for (const node of [20, 24] as const) {
  describe(`an unmodified Fastify server on Node ${node}`, () => {
    let person: Person;
    before(() => {
      person = createPerson();
    });
    after(async () => await person.leave());

    test('goes on after a checkpoint, and two restores at once give the same answers with different random values', async () => {
      const { run, port } = await startServer(person, { node });
      const item = await fetchText(port, '/item/7');
      await fetchText(port, '/random');
      assert.equal(parse<{ hits: number }>(await fetchText(port)).hits, 1);
      await person.json(['checkpoint', run.id, './warm']);
      assert.equal(parse<{ hits: number }>(await fetchText(port)).hits, 2, 'the original goes on');
      const image = join(person.scratch, 'warm');
      const clones = await Promise.all([restoreAnywhere(person, image), restoreAnywhere(person, image)]);
      const seen: string[] = tokens(await randoms(port));
      for (const clone of clones) {
        assert.equal(clone.run.generation, 1);
        seen.push(...tokens(await randoms(clone.port)), ...tokens(await randoms(clone.port)));
        assert.equal(await fetchText(clone.port, '/item/7'), item);
        assert.equal(parse<{ hits: number }>(await fetchText(clone.port)).hits, 2);
      }
      assert.equal(new Set(seen).size, seen.length, 'no random value appears twice');
    });

    test('draws the same numbers in two clones when told not to renew its randomness', async () => {
      const { run, port } = await startServer(person, { node });
      await randoms(port);
      await person.json(['checkpoint', run.id, './equal']);
      const image = join(person.scratch, 'equal');
      const flags = ['--no-reseed'];
      const [one, two] = await Promise.all([
        restoreAnywhere(person, image, { flags }),
        restoreAnywhere(person, image, { flags }),
      ]);
      const [first, second] = [tokens(await randoms(one.port)), tokens(await randoms(two.port))];
      assert.ok(
        first.some((token) => second.includes(token)),
        'the test above can fail',
      );
    });
  });
}

describe('a warm server', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('survives five generations, each in a directory of its own', async () => {
    let { run, port } = await startServer(person);
    for (let generation = 0; generation < 5; generation++) {
      const image = join(person.scratch, `generation-${generation}`);
      const taken = (await person.json(['checkpoint', run.id, image])) as { generation: number };
      assert.equal(taken.generation, generation);
      ({ run, port } = await restoreAnywhere(person, image));
      assert.equal(run.generation, generation + 1);
      assert.equal(parse<{ hits: number }>(await fetchText(port)).hits, generation + 1);
    }
  });

  test('sees its clock go on: timers neither burst nor stall', async () => {
    const { run } = await startServer(person);
    await person.json(['checkpoint', run.id, './clock', '--stop']);
    assert.equal(readFileSync(join(person.home, 'runs', run.id, 'state'), 'utf8'), 'exited 0\n');
    const clone = await restoreAnywhere(person, join(person.scratch, 'clock'));
    const state = parse<{ uptime: number; uid: number }>(await fetchText(clone.port, '/state'));
    assert.ok(state.uptime < 20, `uptime ${state.uptime}`);
    assert.equal(state.uid, person.uid);
    const later = await eventually(async () => {
      const now = parse<{ uptime: number }>(await fetchText(clone.port, '/state'));
      return now.uptime > state.uptime + 0.1 ? now : undefined;
    }, 'the clock moving on');
    assert.ok(later.uptime < state.uptime + 20);
  });

  test('is checkpointed while clients come and go, without an error for any of them', async () => {
    const { run, port } = await startServer(person);
    let going = true;
    const errors: Error[] = [];
    let answers = 0;
    const client = async (): Promise<void> => {
      while (going) {
        await new Promise<void>((resolve) => {
          get({ host: '127.0.0.1', port, path: '/item/3', agent: false }, (response) => {
            response.resume().on('end', () => {
              answers++;
              resolve();
            });
          }).on('error', (error) => {
            errors.push(error);
            resolve();
          });
        });
      }
    };
    const clients = Array.from({ length: 50 }, client);
    for (let i = 0; i < 4; i++) await person.json(['checkpoint', run.id, './busy']);
    going = false;
    await Promise.all(clients);
    assert.deepEqual(errors, []);
    assert.ok(answers > 100, `${answers} answers`);
    const clone = await restoreAnywhere(person, join(person.scratch, 'busy'));
    assert.match(await fetchText(clone.port, '/item/3'), /value 3/);
  });

  test('gets a new environment, arguments and working directory', async () => {
    const { run } = await startServer(person);
    await person.json(['checkpoint', run.id, './env']);
    const clone = await restoreAnywhere(person, './env', {
      flags: ['--env', 'COLOR=blau "ä"', '--cwd', '/usr'],
    });
    assert.equal(parse<{ color: string }>(await fetchText(clone.port)).color, 'blau "ä"');
    assert.equal(parse<{ cwd: string }>(await fetchText(clone.port, '/state')).cwd, '/usr');
  });
});
