import assert from 'node:assert/strict';
import { after, before, describe, test } from 'node:test';
import { createPerson, startMemcached } from '@forkpoint/testkit';
import type { Person, TestServer } from '@forkpoint/testkit';
import { goThrough, phases } from './adapting.ts';

describe('a library without an adapter', () => {
  let person: Person;
  let server: TestServer;
  before(async () => {
    person = createPerson();
    server = await startMemcached(person);
  });
  after(async () => {
    await server.stop();
    await person.leave();
  });

  test('sees its connection closed in a clone, connects again by itself, and keeps the one it has in the original', async () => {
    const args = ['127.0.0.1', String(server.port)];
    const said = await goThrough(person, 'memjs.mjs', { node: 20, libraries: ['memjs'], args });
    const { before: first, original, parent, others } = phases<string[]>(said);
    assert.deepEqual(
      [first, original, parent],
      ['before', 'original', 'parent'].map((phase) => ['before', phase]),
    );
    assert.deepEqual(
      others,
      ['child', 'child', 'clone', 'clone'].map((phase) => ['before', phase]),
    );
    const connections = server.said().match(/new auto-negotiating client connection/g) ?? [];
    assert.equal(connections.length, 5, 'one of the original and one of each clone');
  });
});
