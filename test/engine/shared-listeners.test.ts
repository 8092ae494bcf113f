import assert from 'node:assert/strict';
import { once } from 'node:events';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { Conversations, whoServes } from './conversations.ts';
import type { Place } from './conversations.ts';
import { parse } from './helpers.ts';

/** What the parent tells of a fork. */
interface Told {
  readonly children: readonly { readonly id: string; readonly ports: readonly (number | null)[] }[];
  readonly errors: readonly string[];
}

const LIMIT_MS = 60_000;
/** A connection that was accepted by a child which died is cut, though nobody had heard from that child on it. */
const DYING_MS = 3000;

describe('listening sockets of a program that forks', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  /** A parent that listens in three ways and does what it is told. */
  class Parent {
    readonly running: Running;
    readonly places: Record<'tcp' | 'tls' | 'unix', Place>;

    private constructor(running: Running, [tcp = 0, tls = 0]: readonly number[], path: string) {
      this.running = running;
      this.places = {
        tcp: { kind: 'tcp', port: tcp },
        tls: { kind: 'tls', port: tls },
        unix: { kind: 'unix', path },
      };
    }

    static async start(name: string, env: Record<string, string> = {}): Promise<Parent> {
      const path = join(person.scratch, `${name}.sock`);
      const argv = ['run', '--', nodeBinary(24), programPath('listening.cjs'), path];
      const running = person.forkpoint(argv, { timeoutMs: LIMIT_MS, env });
      const [, ports = ''] = await running.output(/^ready (.*)$/m);
      return new Parent(running, parse<number[]>(ports), path);
    }

    /** Gives an order and returns the answer. */
    async tell<T>(order: object, name: string): Promise<T> {
      const answers = (): RegExpMatchArray[] => [
        ...this.running.stdout.matchAll(new RegExp(`^(?:${name}|failed) (.*)$`, 'gm')),
      ];
      const before = answers().length;
      this.running.child.stdin?.write(`${JSON.stringify(order)}\n`);
      const answer = await eventually(() => answers()[before], `an answer to ${JSON.stringify(order)}`);
      assert.ok(answer[0].startsWith(name), answer[0]);
      return parse<T>(answer[1] ?? '');
    }

    async fork(options: object): Promise<Told> {
      const told = await this.tell<Told>({ fork: { stdio: 'ignore', ...options } }, 'forked');
      assert.deepEqual(told.errors, []);
      return told;
    }
  }

  /** Asks a place until it has been served by all these runs, and returns who else served it. */
  async function servedBy(place: Place, runs: readonly string[]): Promise<string[]> {
    const seen = new Set<string>();
    await eventually(
      async () => {
        seen.add(await whoServes(place));
        return runs.every((run) => seen.has(run)) ? true : undefined;
      },
      `${place.kind} served by ${runs.join(' and ')}`,
    );
    for (let n = 0; n < 10; n++) seen.add(await whoServes(place));
    return [...seen].filter((run) => !runs.includes(run));
  }

  test('are each shared, the child’s own, or closed in it, as chosen: TCP, TLS and unix', async () => {
    const parent = await Parent.start('choice');
    const { tcp, tls, unix } = parent.places;
    const [port, tlsPort] = [tcp, tls].map((place) => (place.kind === 'unix' ? '' : String(place.port)));
    const shared = await parent.fork({ count: 2 });
    const all = ['parent', ...shared.children.map(({ id }) => id)];
    for (const place of [tcp, tls, unix]) assert.deepEqual(await servedBy(place, all), [], place.kind);
    const { children } = await parent.fork({
      listen: { [port ?? '']: 'close', [tlsPort ?? '']: '127.0.0.1:0' },
    });
    const [one] = children;
    assert.ok(one);
    assert.deepEqual(await servedBy(unix, [...all, one.id]), [], 'the unix socket is shared with it');
    const own: Place = { kind: 'tls', port: Number(one.ports[1]) };
    assert.deepEqual(await servedBy(own, [one.id]), [], 'a TLS listener of its own');
    assert.deepEqual(await servedBy(tcp, all), [], 'none of the TCP connections');
    assert.deepEqual(await servedBy(tls, all), []);
    const path = join(person.scratch, 'own.sock');
    const moved = await parent.fork({ listen: { '*': 'close', 'unix-choice.sock': path } });
    assert.deepEqual(await servedBy({ kind: 'unix', path }, [moved.children[0]?.id ?? '']), []);
    assert.deepEqual(await servedBy(unix, [...all, one.id]), []);
    parent.running.child.kill('SIGKILL');
    await parent.running.end();
  });

  test('are the child’s own beside the parent’s where the kernel gives no copy of them and they allow it; else the fork says what to do', async () => {
    const env = { FORKPOINT_NO_GETFD: '1', REUSE_PORT: '1' };
    const parent = await Parent.start('refused', env);
    const told = await parent.tell<string>({ fork: { stdio: 'ignore' } }, 'failed');
    assert.match(told, /^ERR_FORKPOINT_FORK: the listening socket unix-refused\.sock cannot be shared/);
    const { children } = await parent.fork({
      listen: { 'unix-refused.sock': 'close', 'unix-refused.sock.silent': 'close' },
    });
    const all = ['parent', children[0]?.id ?? ''];
    const { tcp, tls, unix } = parent.places;
    for (const place of [tcp, tls]) assert.deepEqual(await servedBy(place, all), [], place.kind);
    assert.deepEqual(await servedBy(unix, ['parent']), []);
    parent.running.child.kill('SIGKILL');
    await parent.running.end();
  });

  test('keep their path when a connection whose client has gone is still open', async () => {
    const parent = await Parent.start('gone');
    const path = join(person.scratch, 'gone.sock.silent');
    const client = connect(path);
    await parent.running.output(/^kept 1$/m);
    client.destroy();
    await once(client, 'close');
    await parent.fork({ count: 1 });
    const again = connect(path);
    await once(again, 'connect');
    again.destroy();
    parent.running.child.kill('SIGKILL');
    await parent.running.end();
  });

  test('refuse and reset no connection while the program forks and forks again; of a child that dies only what it had accepted is cut', async () => {
    const parent = await Parent.start('load');
    const load = new Conversations(Object.values(parent.places), 3);
    const killed = new Map<string, number>();
    try {
      const ids: string[] = [];
      for (let round = 0; round < 2; round++)
        ids.push(...(await parent.fork({ count: 1 })).children.map(({ id }) => id));
      for (const kind of ['tcp', 'tls', 'unix'])
        await eventually(
          () => (ids.every((id) => load.answers.has(`${kind} ${id}`)) ? true : undefined),
          `all of ${ids.length} children serving ${kind}`,
        );
      assert.deepEqual(load.failures, [], 'nothing fails while children are born');
      for (const kill of ids.slice(0, 1)) {
        killed.set(kill, Date.now());
        const end = await parent.tell<object>({ kill }, 'ended');
        assert.deepEqual(end, { code: null, signal: 'SIGKILL' });
        await parent.fork({ count: 1 });
      }
    } finally {
      await load.stop();
    }
    const times = [...killed.values()];
    const unexplained = load.failures.filter(
      ({ run, code, at }) =>
        code === 'ECONNREFUSED' ||
        (run === null ? !times.some((time) => time <= at && at <= time + DYING_MS) : !killed.has(run)),
    );
    assert.deepEqual(unexplained, []);
    parent.running.child.kill('SIGKILL');
    await parent.running.end();
  });
});
