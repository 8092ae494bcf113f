import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { createServer as createNetServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { again, begin, take } from './scenarios.ts';

interface Seen {
  readonly events: readonly string[];
  readonly data: string;
  readonly isDestroyed: boolean;
}

/** Reads everything that a connection brings. */
async function readAll(socket: Socket): Promise<string> {
  let text = '';
  socket.setEncoding('utf8').on('data', (part: string) => (text += part));
  await once(socket, 'close');
  return text;
}

describe('servers', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('UDP: original and clones go on answering at the address they had', async () => {
    const original = await begin(person, 'udp');
    const { port } = await original.state<{ port: number }>();
    const ask = async (): Promise<string> => {
      const socket = createSocket('udp4');
      socket.send('hello', port, '127.0.0.1');
      const [message] = (await once(socket, 'message')) as [Buffer];
      socket.close();
      return message.toString();
    };
    assert.equal(await ask(), '1 hello');
    const image = await take(person, original.run.id, 'udp');
    assert.equal(await ask(), '2 hello');
    await person.finish(['kill', original.run.id, '--signal', 'KILL']);
    await person.finish(['wait', original.run.id]);
    const clone = await again(person, image, original);
    assert.equal(await ask(), '2 hello', 'the clone counts from the checkpoint on');
    const second = await take(person, clone.run.id, 'udp-2');
    await person.finish(['kill', clone.run.id, '--signal', 'KILL']);
    await person.finish(['wait', clone.run.id]);
    await again(person, second, clone);
    assert.equal(await ask(), '3 hello', 'and so does a clone of it');
  });

  test('HTTP/2: every clone listens at an address of its own', async () => {
    const original = await begin(person, 'http2');
    const { port } = await original.state<{ port: number }>();
    const ask = async (at: number | string): Promise<string> => {
      const session = connectHttp2(`http://127.0.0.1:${at}`);
      const stream = session.request({ ':path': '/' });
      const text = await new Promise<string>((resolve, reject) => {
        let got = '';
        stream.setEncoding('utf8').on('data', (part: string) => (got += part)).on('end', () => resolve(got)).on('error', reject);
        session.on('error', reject);
      });
      session.destroy();
      return text;
    };
    const image = await take(person, original.run.id, 'http2');
    const clones = await Promise.all([again(person, image, original), again(person, image, original)]);
    for (const { addresses } of clones) {
      const address = addresses.get(`tcp-${port}`) ?? '';
      assert.equal(await ask(address.slice(address.lastIndexOf(':') + 1)), 'hello over http/2');
    }
    assert.equal(await ask(port), 'hello over http/2');
  });

  test('unix sockets: a clone listens at another path, and the original keeps its own', async () => {
    const path = join(person.scratch, 'server.sock');
    const original = await begin(person, 'unixServer', [path]);
    assert.equal(await readAll(connect(path)), 'client 1');
    const image = await take(person, original.run.id, 'unix');
    const clones = await Promise.all([again(person, image, original), again(person, image, original)]);
    for (const { addresses } of clones) assert.equal(await readAll(connect(addresses.get('unix-server.sock') ?? '')), 'client 2');
    assert.equal(await readAll(connect(path)), 'client 2');
  });

  test('unix sockets with an abstract name', async () => {
    const original = await begin(person, 'unixServer', ['@fp-test']);
    const image = await take(person, original.run.id, 'abstract');
    const { addresses } = await again(person, image, original);
    assert.equal(await readAll(connect(addresses.get('unix-_fp-test') ?? '')), 'client 1');
    assert.equal(await readAll(connect('\0fp-test')), 'client 1');
  });

  test('TLS: a clone shows the same certificate', async () => {
    const [key, certificate] = [join(person.scratch, 'key.pem'), join(person.scratch, 'cert.pem')];
    const subject = ['-subj', '/CN=localhost', '-days', '2', '-nodes', '-newkey', 'rsa:2048'];
    const made = await person.start(['openssl', 'req', '-x509', ...subject, '-keyout', key, '-out', certificate]).end();
    assert.equal(made.code, 0, made.stderr);
    const original = await begin(person, 'tls', [key, certificate]);
    const { port } = await original.state<{ port: number }>();
    const image = await take(person, original.run.id, 'tls');
    const { addresses } = await again(person, image, original);
    for (const at of [port, Number((addresses.get(`tcp-${port}`) ?? '').split(':').at(-1))]) {
      assert.equal(await readAll(connectTls({ port: at, host: '127.0.0.1', rejectUnauthorized: false })), 'hello over tls');
    }
  });

  test('the inspector of Node.js moves with its program', async () => {
    const original = await begin(person, 'none', [], { node: ['--inspect=127.0.0.1:0'] });
    const image = await take(person, original.run.id, 'inspector');
    const { addresses } = await again(person, image, original);
    const inspector = [...addresses].find(([id]) => id.startsWith('tcp-') && id !== `tcp-${original.port}`);
    const answer = await fetchText(Number(inspector?.[1].split(':').at(-1)), '/json/version');
    assert.match(answer, /"Protocol-Version"/);
  });
});

describe('connections to other programs', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  for (const family of ['tcp', 'unix'] as const) {
    test(`over ${family}: closed in the clone, which sees it, and untouched in the original`, async () => {
      const server = createNetServer((socket) => {
        socket.on('error', () => socket.destroy());
        socket.write('hello');
        socket.on('data', (data) => socket.write(data));
      });
      const path = join(person.scratch, 'outside.sock');
      server.listen(family === 'tcp' ? { port: 0, host: '127.0.0.1' } : { path });
      await once(server, 'listening');
      server.unref();
      if (family === 'unix') chmodSync(path, 0o777);
      const target = family === 'tcp' ? String((server.address() as AddressInfo).port) : path;
      const original = await begin(person, 'client', [target]);
      await eventually(async () => ((await original.state<Seen>()).data === 'hello' ? true : undefined), 'hello');
      const image = await take(person, original.run.id, family);
      const check = async (clone: typeof original): Promise<void> => {
        const seen = await eventually(async () => {
          const now = await clone.state<Seen>();
          return now.isDestroyed ? now : undefined;
        }, 'the clone seeing its connection closed');
        assert.equal(seen.events.at(-1), 'close');
        assert.equal(seen.data, 'hello');
        assert.match(await clone.act<string>('again'), /^hello/, 'and it can connect again');
      };
      const clones = await Promise.all([again(person, image, original), again(person, image, original)]);
      for (const clone of clones) await check(clone);
      const second = await take(person, clones[0].run.id, `${family}-2`);
      await check(await again(person, second, clones[0]));
      await original.act('write', ' again');
      await eventually(async () => ((await original.state<Seen>()).data === 'hello again' ? true : undefined), 'the echo');
      assert.deepEqual((await original.state<Seen>()).events, []);
      server.close();
    });
  }

  test('a pool of HTTP connections (fetch) makes new ones in the clone, and the original uses its own on', async () => {
    let connections = 0;
    const server = createServer({ keepAliveTimeout: 60_000 }, (_request, response) => response.end(String(connections)));
    server.on('connection', () => connections++);
    server.listen(0, '127.0.0.1');
    await once(server, 'listening');
    server.unref();
    const original = await begin(person, 'pool', [String((server.address() as AddressInfo).port)]);
    assert.equal(connections, 1);
    const image = await take(person, original.run.id, 'pool');
    assert.equal(await original.act('get'), '1', 'the connection of the original lives');
    const clone = await again(person, image, original);
    assert.equal(await clone.act('get'), '2');
    const other = await again(person, await take(person, clone.run.id, 'pool-2'), clone);
    assert.equal(await other.act('get'), '3');
    assert.equal(await original.act('get'), '3');
    assert.equal(connections, 3);
    server.closeAllConnections();
    server.close();
  });
});
