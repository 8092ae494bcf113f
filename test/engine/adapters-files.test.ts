import assert from 'node:assert/strict';
import { chownSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, startNats } from '@forkpoint/testkit';
import type { Person, TestServer } from '@forkpoint/testkit';
import { assertDisjoint, assertRefused, goThrough, phases } from './adapting.ts';

describe('files of libraries', () => {
  let person: Person;
  // Not below the program's working directory: nobody would find by searching what is watched there.
  const directory = mkdtempSync(join(tmpdir(), 'fp-files-'));
  before(() => {
    person = createPerson();
    if (process.getuid?.() === 0) chownSync(directory, person.uid, person.uid);
  });
  after(async () => {
    await person.leave();
    rmSync(directory, { recursive: true });
  });

  for (const node of [20, 24] as const) {
    test(`lines of pino and winston are written once, transactions of SQLite waited for, and fs.watch and chokidar go on: Node ${node}`, async () => {
      const place = join(directory, String(node));
      const said = await goThrough(person, 'files.mjs', {
        node,
        libraries: ['pino', 'winston', 'chokidar', node === 20 ? 'libsql' : 'better-sqlite3'],
        args: [place],
      });
      assertRefused(
        said,
        /sqlite: the database \S+\.db: a transaction that writes under way after 1000 ms.*, and 3 more failures/,
      );
      const { before: first, original, parent, others } = phases<{ who: string; rows: number[] }>(said);
      const all = [first, original, parent, ...others];
      assert.equal(all.length, 7);
      for (const { rows } of all) assert.deepEqual(rows, [1, 1, 1, 1]);
      assertDisjoint(
        all.map(({ who }) => [who]),
        'processes',
      );
      for (const log of ['pino', 'thread', 'winston']) {
        const text = readFileSync(join(place, `${log}.log`), 'utf8');
        const lines = [...text.matchAll(/"(?:msg|message)":"([^"]+)"/g)].map((match) => match[1] ?? '');
        const expected = [
          ...Array.from({ length: 50 }, (_, line) => `before ${line}`),
          ...all.map(({ who }) => `own ${who}`),
        ];
        assert.deepEqual(lines.toSorted(), expected.toSorted(), log);
      }
    });
  }
});

describe('nats', () => {
  let person: Person;
  let server: TestServer;
  before(async () => {
    person = createPerson();
    server = await startNats(person);
  });
  after(async () => {
    await server.stop();
    await person.leave();
  });

  test('publications arrive once, and subscriptions and requests go on over a connection of each process', async () => {
    const said = await goThrough(person, 'nats.mjs', {
      node: 24,
      libraries: ['nats'],
      args: [String(server.port)],
    });
    const {
      before: first,
      original,
      parent,
      others,
    } = phases<{ id: number; answer: string; before: number }>(said);
    assert.deepEqual([original.id, parent.id], [first.id, first.id]);
    assertDisjoint([[first.id], ...others.map(({ id }) => [id])], 'connections');
    assert.deepEqual(
      others.map(({ answer }) => answer),
      ['echo child', 'echo child', 'echo clone', 'echo clone'],
    );
    for (const { before: count } of [first, original, parent, ...others]) assert.equal(count, 100);
  });
});
