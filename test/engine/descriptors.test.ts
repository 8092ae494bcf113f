import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { createServer } from 'node:http';
import { connect as connectHttp2 } from 'node:http2';
import { createServer as createNetServer, connect } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { chmodSync, readFileSync, unlinkSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { launcherOf, revive, write } from './pods.ts';
import { again, askNative, begin, beginNative, compileNative, take } from './scenarios.ts';

/** The whole answer of the scenario `kinds`. */
const ALL = /^(?:.+\n)+?that is all\n/;

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
        stream
          .setEncoding('utf8')
          .on('data', (part: string) => (got += part))
          .on('end', () => resolve(got))
          .on('error', reject);
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
    for (const { addresses } of clones)
      assert.equal(await readAll(connect(addresses.get('unix-server.sock') ?? '')), 'client 2');
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
    const made = await person
      .start(['openssl', 'req', '-x509', ...subject, '-keyout', key, '-out', certificate])
      .end();
    assert.equal(made.code, 0, made.stderr);
    const original = await begin(person, 'tls', [key, certificate]);
    const { port } = await original.state<{ port: number }>();
    const image = await take(person, original.run.id, 'tls');
    const { addresses } = await again(person, image, original);
    for (const at of [port, Number((addresses.get(`tcp-${port}`) ?? '').split(':').at(-1))]) {
      assert.equal(
        await readAll(connectTls({ port: at, host: '127.0.0.1', rejectUnauthorized: false })),
        'hello over tls',
      );
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
      await eventually(
        async () => ((await original.state<Seen>()).data === 'hello' ? true : undefined),
        'hello',
      );
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
      await eventually(
        async () => ((await original.state<Seen>()).data === 'hello again' ? true : undefined),
        'the echo',
      );
      assert.deepEqual((await original.state<Seen>()).events, []);
      server.close();
    });
  }

  test('a pool of HTTP connections (fetch) makes new ones in the clone, and the original uses its own on', async () => {
    let connections = 0;
    const server = createServer({ keepAliveTimeout: 60_000 }, (_request, response) =>
      response.end(String(connections)),
    );
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

describe('files and what belongs to a process alone', () => {
  let person: Person;
  let native: string;
  before(async () => {
    person = createPerson();
    native = await compileNative(person);
  });
  after(async () => await person.leave());

  /** What the original, two clones and a clone of a clone say of one descriptor of each kind. */
  let answers: Promise<string[]> | undefined;
  async function answersOfAll(): Promise<string[]> {
    const id = await beginNative(person, native, 'kinds');
    const image = await take(person, id, 'image-kinds');
    const first = await askNative(person, id, ALL);
    const clones: [string, string] = [await revive(person, image), await revive(person, image)];
    const second = await take(person, clones[0], 'image-kinds-2');
    const grandchild = await revive(person, second);
    const others: string[] = [];
    for (const clone of [...clones, grandchild]) others.push(await askNative(person, clone, ALL));
    for (const run of [id, ...clones, grandchild]) process.kill(launcherOf(person, run), 'SIGKILL');
    return [first, ...others];
  }

  const kept: readonly [kind: string, answer: RegExp][] = [
    ['eventfd', /^count 3 of 8 bytes$/m],
    ['timerfd', /^interval 7, armed 1$/m],
    ['signalfd', /^signal 12$/m],
    ['memfd', /^text in memory \(9\)$/m],
    ['tmpfile', /^text nameless \(8\)$/m],
    ['renamed', /^text moved \(5\)$/m],
    ['pipe', /^text in the pipe/m],
    ['terminal', /^terminal 1 read [1-9]/m],
  ];
  for (const [kind, answer] of kept) {
    test(`${kind}: comes back in two clones and a clone of a clone`, async () => {
      answers ??= answersOfAll();
      for (const one of await answers) assert.match(one, answer);
    });
  }

  test('a socket of packets keeps their bounds, at another path too', async () => {
    const [path, elsewhere] = [join(person.scratch, 'packets.sock'), join(person.scratch, 'elsewhere.sock')];
    const id = await beginNative(person, native, 'packets', path);
    const image = await take(person, id, 'packets');
    const clone = await revive(person, image, ['--listen', `unix-packets.sock=${elsewhere}`]);
    for (const [run, at] of [
      [id, path],
      [clone, elsewhere],
    ] as const) {
      assert.equal((await person.start([native, 'sender', at]).end()).code, 0);
      assert.equal(await askNative(person, run), 'packet of 5');
    }
  });

  test('open, deleted and special files keep what they had', async () => {
    write(person, 'log', '');
    write(person, 'data', 'abcdefghi');
    const original = await begin(person, 'files', [person.scratch]);
    const expected = { gone: 'still here', data: 'def', names: true, zero: '\0\0', urandom: 8, null: '' };
    const image = await take(person, original.run.id, 'files');
    assert.deepEqual(await original.state(), expected);
    // In turn: CRIU makes a deleted file under one name beside its place, and two at once would meet there.
    const clones = [await again(person, image, original), await again(person, image, original)] as const;
    for (const clone of clones) {
      assert.deepEqual(await clone.state(), expected);
      await clone.act('write', 'line');
    }
    await original.act('write', 'line');
    assert.equal(
      readFileSync(join(person.scratch, 'log'), 'utf8'),
      'linelineline',
      'a log is appended to by all',
    );
    const next = await again(person, await take(person, clones[0].run.id, 'files-2'), clones[0]);
    assert.deepEqual(await next.state(), { ...expected, data: 'ghi' });
  });

  test('a FIFO keeps what is in it', async () => {
    const path = join(person.scratch, 'fifo');
    assert.equal((await person.start(['mkfifo', path]).end()).code, 0);
    const original = await begin(person, 'fifo', [path]);
    const image = await take(person, original.run.id, 'fifo-image');
    assert.deepEqual(await original.state(), { data: 'left in the fifo' });
    assert.deepEqual(await (await again(person, image, original)).state(), { data: 'left in the fifo' });
  });

  test('a child behind pipes answers in every clone', async () => {
    const original = await begin(person, 'children');
    const image = await take(person, original.run.id, 'children');
    for (const clone of await Promise.all([again(person, image, original), again(person, image, original)])) {
      await clone.act('write', 'to the child');
      await eventually(
        async () => ((await clone.state<Seen>()).data === 'to the child' ? true : undefined),
        'the answer',
      );
    }
  });

  test('an SQLite database is used by original and clones alike', async () => {
    const original = await begin(person, 'sqlite', [join(person.scratch, 'visits.db')]);
    await original.act('write', 'original');
    const image = await take(person, original.run.id, 'sqlite');
    const clones = await Promise.all([again(person, image, original), again(person, image, original)]);
    for (const clone of clones) await clone.act('write', 'clone');
    const next = await again(person, await take(person, clones[0].run.id, 'sqlite-2'), clones[0]);
    await next.act('write', 'grandchild');
    for (const run of [original, ...clones, next]) assert.deepEqual(await run.state(), { count: 4 });
  });

  for (const mode of ['plain', 'recursive'] as const) {
    test(`fs.watch (${mode}) goes on in original and clones`, async () => {
      const directory = join(person.scratch, `watched-${mode}`);
      await person.start(['mkdir', '-p', join(directory, 'deep')]).end();
      const original = await begin(person, 'watcher', [directory, mode]);
      const image = await take(person, original.run.id, `watch-${mode}`);
      const clones = await Promise.all([again(person, image, original), again(person, image, original)]);
      const next = await again(person, await take(person, clones[0].run.id, `watch-${mode}-2`), clones[0]);
      const name = mode === 'recursive' ? 'deep/new' : 'new';
      await person.start(['touch', join(directory, name)]).end();
      for (const run of [original, ...clones, next]) {
        await eventually(async () => {
          const { changes } = await run.state<{ changes: string[] }>();
          return changes.includes(name) ? true : undefined;
        }, `${run.run.id} noticing ${name}`);
      }
    });
  }

  test('messages to the system log go on, and are refused a restore where nobody listens', async () => {
    const path = join(person.scratch, 'log.sock');
    const logger = person.start([native, 'logger', path]);
    await logger.output(/^bound$/m);
    const id = await beginNative(person, native, 'log', path);
    const image = await take(person, id, 'log-image');
    for (const run of [id, await revive(person, image), await revive(person, image)]) {
      assert.equal(await askNative(person, run), 'sent 9');
    }
    await logger.output(/before\0?\n(<14>after\0?\n){3}/);
    await logger.stop();
    unlinkSync(path);
    const refused = await person.finish(['restore', image]);
    assert.equal(refused.code, 125);
    assert.match(refused.stderr, /log\.sock/);
  });

  for (const [scenario, what] of [
    ['lock', 'flock'],
    ['range', 'fcntl'],
  ] as const) {
    test(`a file lock (${what}) moves to the clone, and a second holder is refused`, async () => {
      const file = `locked-${what}`;
      const id = await beginNative(person, native, scenario, file);
      const image = await take(person, id, `${file}-image`);
      const refused = await person.finish(['restore', image]);
      assert.equal(refused.code, 125);
      assert.match(refused.stderr, new RegExp(`${file}.*lock|lock.*${file}`));
      await person.finish(['kill', id, '--signal', 'KILL']);
      await person.finish(['wait', id]);
      const clone = await revive(person, image);
      assert.equal(await askNative(person, clone), 'alive');
      assert.equal((await person.finish(['restore', image])).code, 125, 'the clone holds it now');
    });
  }
});
