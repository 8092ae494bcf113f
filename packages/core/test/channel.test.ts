import assert from 'node:assert/strict';
import { once } from 'node:events';
import { mkdtempSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { SocketChannel } from '../src/channel.ts';
import { Cradle } from '../src/family.ts';

/** Two ends of one connection. */
async function ends(): Promise<{ one: Socket; other: Socket; close: () => void }> {
  const directory = mkdtempSync(join(tmpdir(), 'fp-channel-'));
  const server = createServer().listen(join(directory, 's'));
  await once(server, 'listening');
  const one = connect(join(directory, 's'));
  const [other] = (await once(server, 'connection')) as [Socket];
  server.close();
  return {
    one,
    other,
    close: () => {
      one.destroy();
      other.destroy();
      rmSync(directory, { recursive: true });
    },
  };
}

/** Collects messages until there are as many as expected. */
async function heard(channel: SocketChannel, count: number): Promise<unknown[]> {
  const messages: unknown[] = [];
  return await new Promise((resolve) => {
    channel.on('message', (message) => {
      messages.push(message);
      if (messages.length === count) resolve(messages);
    });
  });
}

test('a channel copies values as structuredClone does, in order, also when they come in pieces', async () => {
  const { one, other, close } = await ends();
  const [sender, receiver] = [new SocketChannel(one), new SocketChannel(other)];
  const values = [
    new Map([[1, 2n]]),
    new RangeError('far'),
    new Float32Array([1, 2]),
    'ä'.repeat(300_000),
    null,
    undefined,
  ];
  const all = heard(receiver, values.length);
  for (const value of values) await sender.send(value);
  const got = await all;
  assert.deepEqual(got, values);
  await assert.rejects(
    sender.send(() => undefined),
    /could not be cloned/,
  );
  close();
});

test('messages wait for the first listener, and a slow reader holds the sender back', async () => {
  const { one, other, close } = await ends();
  const [sender, receiver] = [new SocketChannel(one), new SocketChannel(other)];
  await sender.send('first');
  let taken = 0;
  const sending = Array.from({ length: 16 }, async (_, n) => {
    await sender.send(Buffer.alloc(1 << 20, n));
    taken++;
  });
  for (let n = 0; n < 200; n++) await turn();
  assert.ok(taken < 16, 'nobody reads, and all has been taken');
  const got = await heard(receiver, 17);
  await Promise.all(sending);
  assert.equal(got[0], 'first');
  assert.deepEqual(
    got.slice(1).map((bytes) => (bytes as Buffer)[0]),
    [...Array(16).keys()],
  );
  close();
});

test('closing delivers what was sent, then the other side hears of it, and sends fail', async () => {
  const { one, other, close } = await ends();
  const [sender, receiver] = [new SocketChannel(one), new SocketChannel(other)];
  const got = heard(receiver, 1);
  const closed = new Promise<void>((resolve) => receiver.on('close', () => resolve()));
  void sender.send('last');
  sender.close();
  assert.deepEqual(await got, ['last']);
  await closed;
  await assert.rejects(receiver.send('x'), { code: 'ERR_FORKPOINT_CHANNEL_CLOSED' });
  await assert.rejects(sender.send('x'), { code: 'ERR_FORKPOINT_CHANNEL_CLOSED' });
  close();
});

test('in a clone a channel is closed at once: what it had received is dropped, and what was being sent counts as sent', async () => {
  const { one, other, close } = await ends();
  const [mine, theirs] = [new SocketChannel(one), new SocketChannel(other)];
  const messages: unknown[] = [];
  mine.on('message', (message) => messages.push(message));
  await theirs.send('to the original');
  const pending = mine.send(Buffer.alloc(8 << 20));
  mine.abandon();
  await pending;
  await turn();
  assert.deepEqual(messages, []);
  await assert.rejects(mine.send('x'), { code: 'ERR_FORKPOINT_CHANNEL_CLOSED' });
  close();
});

test('transferred buffers leave their sender', async () => {
  const { one, other, close } = await ends();
  const [sender, receiver] = [new SocketChannel(one), new SocketChannel(other)];
  const bytes = new Uint8Array([1, 2, 3]);
  const got = heard(receiver, 1);
  await sender.send(bytes, { transfer: [bytes.buffer] });
  assert.equal(bytes.length, 0);
  assert.deepEqual(await got, [new Uint8Array([1, 2, 3])]);
  close();
});

/** Connects as one line of a child. */
function line(path: string, head: string): Socket {
  const socket = connect(path);
  socket.on('error', () => undefined);
  socket.write(head);
  return socket;
}

test('a fork settles when each child lives or has said why not; lines that nobody knows are refused', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'fp-cradle-'));
  // Longer than a socket's address may be.
  const path = join(directory, `fork-${'0'.repeat(12)}.sock`);
  const cradle = new Cradle(path, 3, { isDetached: false, needsChannel: true, hasStreams: false });
  const life = line(path, '0 life\nstarted abc 12\n');
  const channel = line(path, '0 channel\n');
  line(path, '1 life\nError: no room\n').end();
  line(path, '2 life\nstarted def 13\nexited 9 0\n').end();
  const stranger = line(path, '7 life\n');
  await once(stranger, 'close');
  const { children, errors } = await cradle.settle();
  assert.deepEqual(
    children.map(({ id }) => id),
    ['abc'],
  );
  assert.deepEqual(
    errors.map(({ message }) => message),
    ['child 1 could not be started: no room', 'child 2 ended with code 9 before it went on'],
  );
  const [child] = children;
  const orders = once(life, 'data');
  child?.kill('SIGINT');
  assert.equal(String((await orders)[0]), 'kill 2\n');
  life.end('exited 0 11\n');
  assert.deepEqual(await child?.wait(), { code: null, signal: 'SIGSEGV' });
  channel.destroy();
  rmSync(directory, { recursive: true });
});
