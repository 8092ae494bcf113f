import assert from 'node:assert/strict';
import { EventEmitter } from 'node:events';
import { test } from 'node:test';

import { natsAdapter } from '../src/adapters/nats.ts';
import { Gate } from '../src/adapters/gate.ts';
import { observed, rebuild } from '../src/adapters/rebuild.ts';
import { Adapters } from '../src/adapters/registry.ts';
import { mysql, postgresql, Session } from '../src/adapters/session.ts';
import type { Adapter, Busy, Tracker } from '../src/adapters/types.ts';
import { OrderedContext } from '../src/context.ts';
import type { HookContext } from '../src/types.ts';

const IDENTITY: HookContext = {
  id: 'r',
  image: null,
  parentId: null,
  generation: 0,
  index: null,
  args: [],
  env: {},
  elapsedMs: 0,
};

/** A library whose work ends, at the earliest, when it may begin new work. */
function fake(log: string[], busy: () => Busy[], isIdle = false): Adapter {
  const tracker: Tracker = {
    name: 'fake',
    isIdle: () => isIdle,
    hold: () => void log.push('hold'),
    release: () => void log.push('release'),
    busy,
    close: () => void log.push('close'),
    wake: (isClone) => void log.push(isClone ? 'clone' : 'original'),
  };
  return { name: 'fake', tracker };
}

async function withVariables(variables: Record<string, string>, work: () => Promise<void>): Promise<void> {
  const old = Object.keys(variables).map((name) => [name, process.env[name]] as const);
  Object.assign(process.env, variables);
  try {
    await work();
  } finally {
    for (const [name, value] of old) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  }
}

test('adapters hold new work, close what is idle, and wake whoever goes on and whoever is a clone', async () => {
  const log: string[] = [];
  const adapters = new Adapters();
  adapters.start([fake(log, () => [])]);
  await adapters.beforeCheckpoint(IDENTITY);
  await adapters.afterRestore(IDENTITY);
  await adapters.beforeCheckpoint(IDENTITY);
  await adapters.afterRestore({ ...IDENTITY, id: 'clone' });
  const round = ['hold', 'close'];
  assert.deepEqual(log, [...round, 'original', 'release', ...round, 'clone', 'release']);
});

test('work that needs new work to end is given it', async () => {
  const log: string[] = [];
  const adapters = new Adapters();
  adapters.start([fake(log, () => (log.includes('release') ? [] : [{ what: 'a pool', work: '1 query' }]))]);
  await adapters.beforeCheckpoint(IDENTITY);
  assert.deepEqual(log, ['hold', 'release', 'hold', 'close']);
});

test('what stays busy is named with what it does, the time and what to do', async () => {
  const adapters = new Adapters();
  adapters.start([fake([], () => [{ what: 'a pool of 2', work: '1 query' }])]);
  await withVariables({ FORKPOINT_ADAPTERS_WAIT_MS: '10' }, async () => {
    await assert.rejects(adapters.beforeCheckpoint(IDENTITY), (error: AggregateError) => {
      const [first] = error.errors as { code: string; message: string }[];
      assert.equal(first?.code, 'ERR_FORKPOINT_BUSY');
      assert.match(
        first.message,
        /^fake: a pool of 2: 1 query under way after 10 ms; .*FORKPOINT_ADAPTERS=-fake/,
      );
      return true;
    });
  });
});

test('an adapter that is switched off does nothing, and where nothing is open nobody waits', async () => {
  for (const value of ['-fake', 'none', '-pg, -fake']) {
    const log: string[] = [];
    await withVariables({ FORKPOINT_ADAPTERS: value }, async () => {
      const adapters = new Adapters();
      adapters.start([fake(log, () => [])]);
      await adapters.beforeCheckpoint(IDENTITY);
    });
    assert.deepEqual(log, [], value);
  }
  const context = new OrderedContext();
  const idle = new Adapters();
  idle.start([fake([], () => [], true)]);
  context.register(idle);
  assert.ok(context.isEmpty());
  const open = new Adapters();
  open.start([fake([], () => [])]);
  context.register(open);
  assert.ok(!context.isEmpty());
});

test('a gate lets work through in order, each in the async context that it came from', async () => {
  const { AsyncLocalStorage } = await import('node:async_hooks');
  const storage = new AsyncLocalStorage<number>();
  const gate = new Gate();
  const seen: (number | undefined)[] = [];
  gate.pass(() => seen.push(storage.getStore()));
  gate.close();
  for (const number of [1, 2]) storage.run(number, () => gate.pass(() => seen.push(storage.getStore())));
  assert.deepEqual(seen, [undefined]);
  gate.open();
  assert.deepEqual(seen, [undefined, 1, 2]);
});

test('an object is built anew in its place: its fields are new, its identity and listeners stay', () => {
  class Base extends EventEmitter {
    state = 'new';
  }
  class Connection extends Base {
    readonly host: string;
    constructor(host: string) {
      super();
      this.host = `to ${host}`;
    }
  }
  const made: object[] = [];
  const Observed = observed(Connection, (object) => made.push(object));
  class Own extends Observed {
    extra = 1;
  }
  const connection = new Own('here');
  assert.deepEqual(made, [connection]);
  assert.ok(connection instanceof Connection && connection.constructor === Own);
  let heard = 0;
  connection.on('news', () => heard++);
  Object.assign(connection, { state: 'used', extra: 2, host: 'changed' });
  rebuild(Connection, connection);
  connection.emit('news');
  assert.deepEqual([connection.state, connection.host, connection.extra, heard], ['new', 'to here', 2, 1]);
  assert.equal(Object.getPrototypeOf(Base), EventEmitter);
});

test('the settings and channels of a session are remembered as they stand in the end', () => {
  const session = new Session(postgresql);
  for (const text of [
    'SET search_path = one, public',
    'set TIME ZONE utc',
    'LISTEN news;',
    'listen "Other"',
    'SET LOCAL work_mem = 1',
    'set transaction read only',
    'SET a = 1; DELETE FROM b',
    'SET search_path = two',
    'UNLISTEN "Other"',
    'SET SESSION statement_timeout = 5',
    'RESET statement_timeout',
    'select 1',
  ]) {
    session.note(text);
  }
  assert.deepEqual(session.statements(), ['set TIME ZONE utc', 'LISTEN news;', 'SET search_path = two']);
  session.note('UNLISTEN *');
  assert.deepEqual(session.statements(), ['set TIME ZONE utc', 'SET search_path = two']);
  session.note('DISCARD ALL');
  session.note(undefined);
  assert.deepEqual(session.statements(), []);
  const other = new Session(mysql);
  const kept = [
    "SET time_zone = '+00:00'",
    'set @x := 5',
    'SET @@session.sql_mode = ""',
    'SET NAMES utf8mb4',
    'use `shop`',
  ];
  for (const text of [
    'SET time_zone = "-1:00"',
    'SET GLOBAL x = 1',
    'set transaction read only',
    ...kept,
    'select 1',
  ]) {
    other.note(text);
  }
  assert.deepEqual(other.statements(), kept);
});

test('nats: what a clone publishes before the library has seen its connection closed is sent by the next one', () => {
  const sent: string[] = [];
  const waiting: Uint8Array[] = [];
  const outbound = {
    reset: (): void => void waiting.splice(0),
    drain: () => new Uint8Array(Buffer.concat(waiting.splice(0))),
    fill: (bytes: Uint8Array): void => void waiting.push(bytes),
  };
  class Protocol {
    connected = true;
    outbound = outbound;
    resetOutbound(): void {
      outbound.reset();
    }
  }
  const protocol = new Protocol();
  class NatsConnectionImpl {
    protocol = protocol;
    isClosed = (): boolean => false;
    isDraining = (): boolean => false;
    getServer = (): string => 'here';
    publish(text: string): void {
      outbound.fill(Buffer.from(text));
      if (protocol.connected) sent.push(Buffer.from(outbound.drain()).toString());
    }
    subscribe(): void {}
    flush = async (): Promise<void> => await Promise.resolve();
    reconnect = async (): Promise<void> => await Promise.resolve();
  }
  Object.assign(NatsConnectionImpl.prototype, { flush: () => undefined, reconnect: () => undefined });
  const { files = {}, tracker } = natsAdapter();
  files['nats/lib/nats-base-client/nats.js']?.({ NatsConnectionImpl });
  const connection = new NatsConnectionImpl();
  connection.publish('before');
  assert.deepEqual(sent.splice(0), ['before']);

  // What the original could not send is the original's.
  waiting.push(Buffer.from('unsent'));
  tracker?.wake(true);
  connection.publish('first');
  assert.deepEqual(sent, [], 'not by the connection that was closed');
  protocol.resetOutbound();
  assert.equal(Buffer.from(outbound.drain()).toString(), 'first');
  // Later connections are the library's affair.
  connection.publish('lost');
  protocol.resetOutbound();
  assert.deepEqual(waiting, []);
});
