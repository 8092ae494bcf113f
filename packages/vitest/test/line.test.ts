import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import test from 'node:test';
import { Line } from '../src/line.ts';

async function pair(): Promise<{ here: Socket; there: Socket; close: () => void }> {
  const server = createServer().listen(0, '127.0.0.1');
  await once(server, 'listening');
  const here = connect((server.address() as AddressInfo).port, '127.0.0.1');
  const [there] = (await once(server, 'connection')) as [Socket];
  return { here, there, close: () => void [here.destroy(), there.destroy(), server.close()] };
}

test('values arrive whole and in order, however their bytes are cut', async () => {
  const { here, there, close } = await pair();
  const got: unknown[] = [];
  const sent = [
    { a: new Map([[1, new Date(5)]]) },
    'x'.repeat(200_000),
    new Error('told'),
    null,
    [undefined, 1n],
  ];
  await new Promise<void>((resolve) => {
    const line = new Line(
      here,
      (value) => got.push(value) === sent.length && resolve(),
      () => undefined,
    );
    const other = new Line(
      there,
      () => undefined,
      () => undefined,
    );
    for (const value of sent) other.send(value);
    assert.equal(typeof line.end, 'function');
  });
  assert.deepEqual(got, sent);
  close();
});

test('what cannot be copied is refused at once, and what nobody reads is dropped', async () => {
  const { here, there, close } = await pair();
  const ended = once(there, 'close');
  const line = new Line(
    here,
    () => undefined,
    () => undefined,
  );
  const other = new Line(
    there,
    () => undefined,
    () => undefined,
  );
  assert.throws(() => line.send(() => undefined), /could not be cloned/);
  line.destroy();
  line.send('nobody');
  await ended;
  other.send('nobody');
  close();
});

test('a length that no sender writes ends the line', async () => {
  const { here, there, close } = await pair();
  const ended = new Promise<void>((resolve) => new Line(here, () => assert.fail('a message'), resolve));
  there.write(Buffer.from([0, 0, 0, 0, 1, 2, 3]));
  await ended;
  close();
});
