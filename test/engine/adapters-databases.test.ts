import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson, startMariadb, startRabbitmq, startRedis } from '@forkpoint/testkit';
import type { Person, TestServer } from '@forkpoint/testkit';
import { assertDisjoint, assertRefused, goThrough, phases } from './adapting.ts';

describe('mysql2', () => {
  let person: Person;
  let server: TestServer;
  before(async () => {
    person = createPerson();
    server = await startMariadb(person);
  });
  after(async () => {
    await server.stop();
    await person.leave();
  });

  test('pools and connections to MariaDB are quiet at a checkpoint and usable after, each process with sessions of its own', async () => {
    const args = ['127.0.0.1', String(server.port), server.directory];
    const said = await goThrough(person, 'mysql2.mjs', { node: 20, libraries: ['mysql2'], args });
    assertRefused(
      said,
      /mysql2: a connection to tester@127\.0\.0\.1:\d+\/: a transaction under way after 1000 ms/,
    );
    assert.deepEqual([said.one('slow'), said.all('waited')], [5, [6]]);
    assert.deepEqual(said.all('complaint'), []);
    const {
      before: first,
      original,
      parent,
      others,
    } = phases<{
      pool: number[];
      single: number;
      kept: number;
      twice: number;
      state: object;
    }>(said);
    assert.equal(others.length, 4);
    const later = [original, parent, ...others];
    assertDisjoint(
      [first, ...later].map(({ pool }) => pool),
      'connections of pools',
    );
    for (const name of ['single', 'kept'] as const) {
      assert.deepEqual([original[name], parent[name]], [first[name], first[name]]);
      assertDisjoint([[first[name]], ...others.map((one) => [one[name]])], name);
    }
    for (const { twice, state } of [first, ...later]) {
      assert.deepEqual([twice, state], [42, { zone: '+03:00', colour: 7, name: 'shop' }]);
    }
  });
});

describe('Redis', () => {
  let person: Person;
  let server: TestServer;
  before(async () => {
    person = createPerson();
    server = await startRedis(person);
  });
  after(async () => {
    await server.stop();
    await person.leave();
  });

  for (const [library, node] of [
    ['ioredis', 24],
    ['redis', 20],
  ] as const) {
    test(`${library}: no command is lost or sent twice, subscriptions and waiting commands go on, each clone has connections of its own`, async () => {
      const said = await goThrough(person, 'redis.mjs', {
        node,
        libraries: [library],
        args: [library, String(server.port)],
      });
      assertRefused(
        said,
        new RegExp(
          `${library}: a connection to 127\\.0\\.0\\.1:\\d+.*: a transaction under way after 1000 ms`,
        ),
      );
      assert.deepEqual(said.all('complaint'), []);
      const {
        before: first,
        original,
        parent,
        others,
      } = phases<{
        id: number;
        counted: number;
        pipeline: string[];
      }>(said);
      assert.deepEqual([original.id, parent.id], [first.id, first.id]);
      assertDisjoint([[first.id], ...others.map(({ id }) => [id])], 'connections');
      for (const { pipeline } of [first, original, parent, ...others])
        assert.deepEqual(pipeline, ['OK', '2']);
      // Two children and two clones, each of which has counted once.
      assert.deepEqual(
        others.map(({ counted }) => counted).toSorted((a, b) => a - b),
        [1, 1, 2, 2],
      );
      assert.deepEqual([first.counted, original.counted, parent.counted], [1, 1, 1]);
      assert.deepEqual(new Set(said.all('burst')), new Set([200]));
    });
  }
});

describe('amqplib', () => {
  let person: Person;
  let server: TestServer;
  before(async () => {
    person = createPerson();
    server = await startRabbitmq(person);
  });
  after(async () => {
    await server.stop();
    await person.leave();
  });

  test('a message is sent and consumed once, consumers go on in every clone, and what is not acknowledged is in the way', async () => {
    const args = [String(server.port)];
    const said = await goThrough(person, 'amqplib.mjs', { node: 24, libraries: ['amqplib'], args });
    assertRefused(
      said,
      /amqplib: a connection to 127\.0\.0\.1:\d+: 1 message that is not acknowledged under way after 1000 ms/,
    );
    const {
      before: first,
      original,
      parent,
      others,
    } = phases<{
      queue: string;
      isServed: boolean;
      messageCount: number;
      answer: string;
      bursts: string[];
      late: number;
    }>(said);
    assert.equal(others.length, 4);
    const all = [first, original, parent, ...others];
    assert.deepEqual(
      all.map(({ answer }) => answer),
      ['before', 'original', 'parent', 'child', 'child', 'clone', 'clone'].map((name) => `echo ${name}`),
    );
    assert.equal(new Set(all.map(({ queue }) => queue)).size, all.length);
    for (const { isServed, messageCount } of all) assert.deepEqual([isServed, messageCount], [true, 100]);
    assert.deepEqual([original.bursts.length, new Set(original.bursts).size], [20, 20]);
    assert.deepEqual(
      others.map(({ late }) => late),
      [0, 0, 0, 0],
    );
  });
});
