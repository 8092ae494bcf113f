import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson, startPostgres, testCommand } from '@forkpoint/testkit';
import type { Person, TestServer } from '@forkpoint/testkit';
import { assertDisjoint, assertRefused, goThrough, phases } from './adapting.ts';
import type { Said } from './adapting.ts';

interface Pids {
  readonly pool: number[];
  readonly single: number;
  readonly kept: number;
  readonly twice: number;
  readonly payload: string;
  readonly name: string;
}

describe('pg', () => {
  let person: Person;
  let server: TestServer;
  before(async () => {
    person = createPerson();
    server = await startPostgres(person);
  });
  after(async () => {
    await server.stop();
    await person.leave();
  });
  const args = (): string[] => ['127.0.0.1', String(server.port), server.directory];

  for (const node of [20, 24] as const) {
    test(`pools and clients are quiet at a checkpoint and usable after, each process with connections of its own: Node ${node}`, async () => {
      const said = await goThrough(person, 'pg.mjs', { node, libraries: ['pg'], args: args() });
      assertRefused(
        said,
        /pg: a connection to tester@127\.0\.0\.1:\d+\/postgres: a transaction under way after 1000 ms/,
      );
      assert.deepEqual([said.one('slow'), said.all('waited')], [5, [6]]);
      assert.deepEqual(said.all('complaint'), []);
      const { before: first, original, parent, others } = phases<Pids>(said);
      assert.equal(others.length, 4);
      // Idle connections of a pool were closed; a session is the parent's, and each clone has its own.
      const later = [original, parent, ...others];
      assertDisjoint(
        [first, ...later].map(({ pool }) => pool),
        'connections of pools',
      );
      assert.deepEqual(
        [original.single, parent.single, original.kept, parent.kept],
        [first.single, first.single, first.kept, first.kept],
      );
      assertDisjoint([[first.single], ...others.map(({ single }) => [single])], 'clients');
      assertDisjoint([[first.kept], ...others.map(({ kept }) => [kept])], 'kept clients');
      for (const { twice, payload, name } of [first, ...later]) {
        assert.deepEqual([twice, payload, name], [42, 'hello', 'single of the test']);
      }
    });
  }

  test('is adapted as well when tsx loads the program, and in a bundle when the program says so', async () => {
    const check = (said: Said): void => {
      assert.deepEqual(said.all('complaint'), []);
      const { before: first, others } = phases<Pids>(said);
      assertDisjoint([[first.single], ...others.map(({ single }) => [single])], 'clients');
      assertDisjoint([[first.kept], ...others.map(({ kept }) => [kept])], 'kept clients');
    };
    const common = { node: 24, libraries: ['pg'], args: args(), clones: 0 } as const;
    check(await goThrough(person, 'pg.mjs', { ...common, command: [testCommand('tsx')] }));
    check(await goThrough(person, 'pg.mjs', { ...common, bundle: true, env: { ADAPT: '1' } }));
  });

  test('without its adapter sees the connections closed in a clone: the pool opens others, and the client says so', async () => {
    const said = await goThrough(person, 'pg-alone.mjs', {
      node: 24,
      libraries: ['pg'],
      args: args(),
      env: { FORKPOINT_ADAPTERS: '-pg' },
    });
    const { before: first, original, others } = phases<{ pool: unknown; single: unknown }>(said);
    assert.deepEqual(original, first, 'the original keeps its connections');
    for (const { pool, single } of others) {
      assert.equal(typeof pool, 'number');
      assert.equal(single, 'Client has encountered a connection error and is not queryable');
    }
    assert.equal(
      said.all('complaint').filter((text) => text === 'single: Connection terminated unexpectedly').length,
      3,
    );
  });
});
