import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { mkdtempSync, readdirSync, readlinkSync, rmSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, ListenOptions, Server, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { readSockets } from '../src/sockets.ts';

/** Inodes of the sockets that this process has open. */
function own(): Set<number> {
  const targets = readdirSync('/proc/self/fd').map((fd) => {
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } catch {
      // The descriptor by which the directory was read.
      return '';
    }
  });
  return new Set(
    targets.map((target) => Number(/^socket:\[(\d+)\]$/.exec(target)?.[1] ?? 0)).filter(Boolean),
  );
}

async function listening(t: TestContext, options: ListenOptions): Promise<Server> {
  const server = createServer().listen(options);
  t.after(() => server.close());
  await once(server, 'listening');
  return server;
}

test('the sockets of a program are found in the tables of the network namespace, and no others', async (t) => {
  const before = own();
  const directory = mkdtempSync(join(tmpdir(), 'fp-sockets-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, 'socket');
  const four = (await listening(t, { port: 0, host: '127.0.0.1' })).address() as AddressInfo;
  const six = (await listening(t, { port: 0, host: '::' })).address() as AddressInfo;
  await listening(t, { path });
  const datagrams = createSocket('udp4').bind(0, '127.0.0.1');
  t.after(() => datagrams.close());
  await once(datagrams, 'listening');
  const client: Socket = connect(four.port, '127.0.0.1');
  t.after(() => client.destroy());
  await once(client, 'connect');

  const inodes = new Set([...own()].filter((inode) => !before.has(inode)));
  const all = readSockets({ inodes });
  const mine = [...all.values()].filter(({ inode }) => inodes.has(inode));
  const told = mine.map(({ kind, address, isListening }) => [kind, address, isListening]);
  const at = (port: number): string => `127.0.0.1:${port}`;
  for (const socket of [
    ['tcp', at(four.port), true],
    ['tcp', `[::]:${six.port}`, true],
    ['unix', path, true],
    ['udp', at(datagrams.address().port), false],
    ['tcp', at((client.address() as AddressInfo).port), false],
  ])
    assert.ok(
      told.some((one) => one.join(' ') === socket.join(' ')),
      `${socket.join(' ')} among ${told.join('; ')}`,
    );
  assert.equal(mine.find(({ peer }) => peer === at(four.port))?.kind, 'tcp');
  assert.deepEqual(
    [...all.values()].filter(({ kind, inode }) => kind !== 'unix' && !inodes.has(inode)),
    [],
  );
  const unix = readSockets({ inodes, onlyUnix: true });
  assert.deepEqual([...new Set([...unix.values()].map(({ kind }) => kind))], ['unix']);
});
