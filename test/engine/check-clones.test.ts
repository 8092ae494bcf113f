import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse } from './helpers.ts';
import { detach, living, logged, write } from './pods.ts';

// A server with a secret that it drew before, and one with a pool of random bytes of its own.
const SERVER = `
const { randomBytes, randomUUID } = require('node:crypto');
const secret = randomUUID();
const pool = randomBytes(4096);
let at = 0;
randomUUID();
const answers = {
  '/fine': () => randomUUID() + ' ' + randomBytes(16).toString('hex') + ' ' + Math.random(),
  '/all': () => [secret, 'allowed-7f3b91c0aa52e4d1', pool.subarray(at, at += 16).toString('hex')].join(' '),
  '/plain': () => 'nothing here',
};
const server = require('node:http').createServer((request, response) => {
  if (answers[request.url] === undefined) response.statusCode = 404;
  response.end(answers[request.url]?.());
});
server.listen(0, '127.0.0.1', () => console.log('listening'));
`;

const PROBE = `
const answer = await fetch('http://' + process.env.FORKPOINT_ADDRESS + process.argv[2]);
if (!answer.ok) process.exit(9);
console.log(await answer.text());
`;

interface Found {
  readonly repeated: readonly { readonly text: string; readonly bits: number }[];
  readonly standing: readonly { readonly text: string; readonly bits: number }[];
  readonly tokens: number;
}

describe('forkpoint check-clones', () => {
  let person: Person;
  before(async () => {
    person = createPerson();
    write(person, 'server.cjs', SERVER);
    write(person, 'probe.mjs', PROBE);
    const id = await detach(person, [nodeBinary(24), 'server.cjs']);
    await logged(person, id, /listening/);
    await person.json(['checkpoint', id, './image', '--stop']);
  });
  after(async () => await person.leave());

  async function check(
    path: string,
    ...options: string[]
  ): Promise<{ code: number | null; found: Found; text: string }> {
    const probe = [nodeBinary(24), 'probe.mjs', path];
    const { code, stdout, stderr } = await person.finish([
      'check-clones',
      './image',
      '--json',
      ...options,
      '--',
      ...probe,
    ]);
    return {
      code,
      found: stdout === '' ? { repeated: [], standing: [], tokens: 0 } : parse<Found>(stdout),
      text: stderr,
    };
  }

  test('tells what two clones draw alike, what they have kept from before, and what is as it should be', async () => {
    const fine = await check('/fine');
    assert.deepEqual([fine.code, fine.found.repeated, fine.found.standing], [0, [], []], fine.text);
    assert.ok(fine.found.tokens >= 8, 'an id and bytes in each of four answers');
    const { code, found, text } = await check('/all', '--ignore', '^allowed-');
    // Two answers from the pool in each clone, and the secret.
    assert.deepEqual([code, found.repeated.length, found.standing.length], [1, 2, 1], text);
    // The control: without the renewal the very same answers are found.
    const stale = await check('/fine', '--no-reseed');
    assert.equal(stale.code, 1, stale.text);
    assert.ok(stale.found.repeated.length >= 4, 'each id and all bytes');
    const plain = await check('/plain');
    assert.equal(plain.code, 1);
    assert.match(plain.text, /hold nothing that looks random/);
    const failed = await check('/missing');
    assert.equal(failed.code, 1);
    assert.match(failed.text, /The probe `.*node` failed: it ended with 9/);
    assert.deepEqual(await living(person), []);
    const left = readdirSync(join(person.home, 'cache')).filter((name) => name.startsWith('fork-'));
    assert.deepEqual(left, []);
  });
});
