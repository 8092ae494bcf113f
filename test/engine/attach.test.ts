import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { restoreAnywhere } from './helpers.ts';

const isRoot = process.getuid?.() === 0;

describe('a program that forkpoint did not start', () => {
  let person: Person;
  let server: Running;
  let port: number;

  before(async () => {
    person = createPerson(isRoot ? 'root' : 'ordinary');
    // Node 20 has no io_uring; a session of its own, because an image needs the leader of its session.
    // Its streams are files: the pipes of a test runner are sockets that lead outside.
    const script = 'exec "$@" < /dev/null > server.log 2>&1';
    server = person.start(['setsid', 'sh', '-c', script, 'sh', nodeBinary(20), programPath('server.cjs')], {
      env: { PORT: '0' },
    });
    const log = join(person.scratch, 'server.log');
    port = await eventually(() => {
      const text = existsSync(log) ? readFileSync(log, 'utf8') : '';
      const found = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(text);
      return found === null ? undefined : Number(found[1]);
    }, 'the server listening');
  });
  after(async () => {
    await server.stop('SIGKILL');
    await person.leave();
  });

  const attach = (...args: string[]) =>
    person.finish(['checkpoint', '--pid', String(server.child.pid), ...args]);

  test(`is checkpointed by root, and for anybody else refused with the line that helps (${isRoot ? 'root' : 'user'})`, async () => {
    const image = join(person.scratch, 'attached');
    const { code, stderr } = await attach('--uncoordinated', image);
    if (!isRoot) {
      assert.equal(code, 1);
      assert.match(stderr, /only root can[\s\S]*forkpoint run -- /);
      return;
    }
    assert.equal(code, 0, stderr);
    assert.match(await fetchText(port, '/item/3'), /value 3/, 'the original goes on');
    const clone = await restoreAnywhere(person, image);
    assert.match(await fetchText(clone.port, '/item/3'), /value 3/);
    const late = await attach('--uncoordinated', './late', '--timeout', '0.01');
    assert.equal(late.code, 1, late.stderr);
    assert.match(late.stderr, /did not finish the dump in time/);
    assert.ok(!existsSync(join(person.scratch, 'late')));
    assert.match(await fetchText(port, '/item/3'), /value 3/, 'CRIU has let it go');
  });

  test('is refused on Node 22 and newer, whose io_uring nobody can copy, with the line to start it by', async () => {
    // Only root gets as far as that; others are told that they are not root.
    const script = 'exec "$@" < /dev/null > newer.log 2>&1';
    const newer = person.start([
      'setsid',
      'sh',
      '-c',
      script,
      'sh',
      nodeBinary(24),
      '-e',
      'setInterval(() => console.log(1), 10)',
    ]);
    try {
      const log = join(person.scratch, 'newer.log');
      await eventually(
        () => (existsSync(log) && readFileSync(log, 'utf8') !== '' ? true : undefined),
        'its output',
      );
      const words = ['checkpoint', '--pid', String(newer.child.pid), '--uncoordinated', './newer'];
      const { code, stderr } = await person.finish(words);
      assert.equal(code, 1, stderr);
      assert.match(stderr, isRoot ? /io_uring: the kernel keeps requests/ : /only root can/);
      assert.match(stderr, /forkpoint run -- \S+node -e 'setInterval/);
      assert.ok(!existsSync(join(person.scratch, 'newer')));
      const { length } = readFileSync(log, 'utf8');
      await eventually(() => (readFileSync(log, 'utf8').length > length ? true : undefined), 'it going on');
    } finally {
      await newer.stop('SIGKILL');
    }
  });

  test('is not touched unless told that it runs no hooks', async () => {
    const { code, stderr } = await attach('./never');
    assert.equal(code, 2);
    assert.match(stderr, /--uncoordinated/);
  });
});
