import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import {
  chmodSync,
  existsSync,
  mkdirSync,
  chownSync,
  readFileSync,
  unlinkSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, fetchText } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { revive, write } from './pods.ts';
import { again, askNative, begin, beginNative, compileNative, take } from './scenarios.ts';

let person: Person;
let count = 0;
before(() => {
  person = createPerson();
});
after(async () => await person.leave());

/** Makes a working directory with these files. */
function directory(files: Readonly<Record<string, string>> = {}): string {
  const path = join(person.scratch, `work-${++count}`);
  mkdirSync(path);
  chownSync(path, person.uid, person.uid);
  for (const [name, text] of Object.entries(files)) {
    writeFileSync(join(path, name), text);
    chownSync(join(path, name), person.uid, person.uid);
  }
  return path;
}

/** Writes forkpoint.config.json; a living program's is read at its next checkpoint. */
function rules(where: string, ...descriptors: object[]): void {
  writeFileSync(join(where, 'forkpoint.config.json'), JSON.stringify({ descriptors }));
}

function image(): string {
  return `image-${count}`;
}

interface Files {
  readonly data: string;
  readonly gone: string;
}

describe('close', () => {
  test('a file reads as empty in the clone, and the original keeps it', async () => {
    const cwd = directory({ data: 'abcdefghi' });
    rules(cwd, { kind: 'file', path: `${cwd}/data`, action: 'close' });
    const original = await begin(person, 'files', [cwd], { cwd });
    const at = await take(person, original.run.id, image());
    assert.equal((await original.state<Files>()).data, 'def');
    for (const clone of [await again(person, at, original), await again(person, at, original)]) {
      assert.equal((await clone.state<Files>()).data, '');
      assert.equal((await clone.state<Files>()).gone, 'still here', 'no rule speaks of this one');
    }
  });

  test('a listener and a UDP socket stay silent in the clone', async () => {
    const cwd = directory();
    const servers = await Promise.all([
      begin(person, 'http2', [], { cwd }),
      begin(person, 'udp', [], { cwd }),
    ]);
    for (const original of servers) {
      const { port } = await original.state<{ port: number }>();
      rules(cwd, { address: `127.0.0.1:${port}`, action: 'close' });
      const clone = await again(person, await take(person, original.run.id, `silent-${port}`), original);
      assert.equal(clone.addresses.has(`tcp-${port}`), false);
      await fetchText(clone.port);
      const second = await again(person, await take(person, clone.run.id, `silent-${port}-2`), clone);
      await fetchText(second.port);
    }
    const [, udp] = servers;
    const socket = createSocket('udp4');
    socket.send('hello', (await udp.state<{ port: number }>()).port, '127.0.0.1');
    assert.equal(String(((await once(socket, 'message')) as [Buffer])[0]), '1 hello', 'the original answers');
    socket.close();
  });

  test('a connection within the program is closed at both ends', async () => {
    const cwd = directory();
    rules(cwd, { kind: 'unix', action: 'close' });
    const original = await begin(person, 'children', [], { cwd });
    const clone = await again(person, await take(person, original.run.id, image()), original);
    await eventually(
      async () => ((await clone.state<{ events: string[] }>()).events.includes('close') ? true : undefined),
      'the end',
    );
    await original.act('write', 'still there');
    await eventually(
      async () => ((await original.state<{ data: string }>()).data === 'still there' ? true : undefined),
      'the answer',
    );
  });

  test('an eventfd never becomes ready', async () => {
    const native = await compileNative(person);
    const policy = write(
      person,
      'eventfd.json',
      JSON.stringify({ descriptors: [{ kind: 'eventfd', action: 'close' }] }),
    );
    const id = await beginNative(person, native, 'eventfd', '', ['--fd-policy', policy]);
    const at = await take(person, id, 'eventfd');
    assert.equal(await askNative(person, await revive(person, at)), 'count 0 of -1 bytes');
    assert.equal(await askNative(person, id), 'count 3 of 8 bytes');
  });
});

describe('reopen', () => {
  test('a file that has changed is opened again at the same position, and a log that is gone is made again', async () => {
    const cwd = directory({ data: 'abcdefghi', log: '' });
    const original = await begin(person, 'files', [cwd], { cwd });
    // The file without a name cannot be opened again.
    rules(
      cwd,
      { kind: 'file', path: `${cwd}/gone*`, action: 'ignore' },
      { kind: 'file', path: `${cwd}/*`, action: 'reopen' },
    );
    const at = await take(person, original.run.id, image());
    writeFileSync(join(cwd, 'data'), 'ABCDEFGHIJKL');
    unlinkSync(join(cwd, 'log'));
    const clone = await again(person, at, original);
    assert.equal((await clone.state<Files>()).data, 'DEF');
    await clone.act('write', 'a new log');
    assert.equal(readFileSync(join(cwd, 'log'), 'utf8'), 'a new log');
    const second = await again(person, await take(person, clone.run.id, `${image()}-2`), clone);
    assert.equal((await second.state<Files>()).data, 'GHI');
  });
});

describe('slot', () => {
  test('a file is filled by the restore, else it is the one that was open', async () => {
    const cwd = directory({ data: 'abcdefghi', log: '' });
    rules(cwd, { kind: 'file', path: '**/log', action: 'slot', slot: 'journal' });
    const original = await begin(person, 'files', [cwd], { cwd });
    const at = await take(person, original.run.id, image());
    const other = await again(person, at, original, ['--fd', `journal=${cwd}/other`]);
    await other.act('write', 'other');
    const same = await again(person, at, original);
    await same.act('write', 'same');
    assert.equal(readFileSync(join(cwd, 'other'), 'utf8'), 'other');
    assert.equal(readFileSync(join(cwd, 'log'), 'utf8'), 'same');
    const second = await again(person, await take(person, other.run.id, `${image()}-2`), other);
    await second.act('write', ' again');
    assert.equal(readFileSync(join(cwd, 'other'), 'utf8'), 'other again');
  });

  test('a file that cannot be opened and a name that is no slot are refused', async () => {
    const cwd = directory({ data: 'abcdefghi' });
    rules(cwd, { kind: 'file', path: '**/log', action: 'slot', slot: 'journal' });
    const original = await begin(person, 'files', [cwd], { cwd });
    const at = await take(person, original.run.id, image());
    const listen = ['--listen', `tcp-${original.port}=127.0.0.1:0`];
    for (const [given, text] of [
      ['journal=/no/such/place', /\/no\/such\/place of a slot cannot be opened/],
      ['diary=/tmp/x', /names no file slot/],
    ] as const) {
      const { code, stderr } = await person.finish(['restore', at, ...listen, '--fd', given]);
      assert.equal(code, 125);
      assert.match(stderr, text);
    }
  });

  test('a listening socket gets the name that the rule gives it', async () => {
    const cwd = directory();
    rules(cwd, { kind: 'tcp', action: 'slot', slot: 'web' });
    const original = await begin(person, 'none', [], { cwd });
    const clone = await again(person, await take(person, original.run.id, image()), original);
    assert.ok(clone.addresses.has('web'));
    await fetchText(clone.port);
  });
});

describe('ignore', () => {
  test('what forkpoint would have closed is left to CRIU, which refuses it', async () => {
    const cwd = directory();
    const path = join(cwd, 'outside.sock');
    const server = createServer((socket) => socket.on('error', () => socket.destroy()).write('hello'));
    server.listen(path).unref();
    await once(server, 'listening');
    chmodSync(path, 0o777);
    rules(cwd, { kind: 'unix', peer: path, action: 'ignore' });
    const original = await begin(person, 'client', [path], { cwd });
    const { code, stderr } = await person.finish(['checkpoint', original.run.id, './ignored']);
    assert.notEqual(code, 0);
    assert.match(stderr, /External socket is used/);
    assert.equal(existsSync(join(person.scratch, 'ignored')), false);
    server.close();
  });
});

describe('error', () => {
  test('the checkpoint is refused before it begins, and the rule is named', async () => {
    const cwd = directory({ data: 'abcdefghi' });
    rules(
      cwd,
      { kind: 'file', path: '**/*.conf', action: 'ignore' },
      { kind: 'file', path: '**/data', action: 'error' },
    );
    const original = await begin(person, 'files', [cwd], { cwd });
    for (const flags of [[], ['--dry-run']]) {
      const { code, stderr } = await person.finish(['checkpoint', original.run.id, './never', ...flags]);
      assert.equal(code, 1);
      assert.match(
        stderr,
        /policy: the file .*\/data is refused by rule 2 of .*forkpoint\.config\.json \(pid \d+, fd \d+\)/,
      );
    }
    assert.equal((await original.state<Files>()).data, 'def');
  });
});

describe('--trace-resources', () => {
  test('the report tells the stack that opened a descriptor', async () => {
    const cwd = directory({ data: 'abcdefghi' });
    const server = createServer((socket) => socket.on('error', () => socket.destroy()).write('hello'));
    server.listen(0, '127.0.0.1').unref();
    await once(server, 'listening');
    const port = (server.address() as AddressInfo).port;
    for (const [scenario, argument, rule, frame] of [
      ['files', cwd, { kind: 'file', path: '**/data' }, /at .*files.*descriptors\.cjs:\d+/],
      ['client', String(port), { kind: 'tcp', peer: `*:${port}` }, /at .*client.*descriptors\.cjs:\d+/],
    ] as const) {
      rules(cwd, { ...rule, action: 'error' });
      const { run } = await begin(person, scenario, [argument], { cwd, run: ['--trace-resources'] });
      await eventually(async () => {
        const { stderr } = await person.finish(['checkpoint', run.id, '--dry-run']);
        assert.match(stderr, /policy: /);
        return frame.test(stderr) ? true : undefined;
      }, 'the stack in the report');
    }
    server.close();
  });
});

describe('a policy file', () => {
  test('that is malformed is refused before the program starts, with the rule and the field', async () => {
    const cases: [string, RegExp][] = [
      ['{', /is not JSON/],
      ['{"descriptors":[{"kind":"file"}]}', /descriptors\[0\]\.action is missing/],
      ['{"descriptors":[{"action":"close","kind":"tty"}]}', /cannot have the action close with the kind tty/],
      ['{"descriptors":[{"action":"slot","kind":"file"}]}', /descriptors\[0\]\.slot is missing/],
      ['{"descriptors":[{"action":"close","paht":"/x"}]}', /unknown field "paht"/],
    ];
    for (const [text, expected] of cases) {
      const path = write(person, 'wrong.json', text);
      const { code, stderr } = await person.finish(['run', '--fd-policy', path, '--', 'true']);
      assert.equal(code, 125);
      assert.match(stderr, expected);
      assert.match(stderr, /wrong\.json/);
    }
    const { code, stderr } = await person.finish(['run', '--fd-policy', './nowhere.json', '--', 'true']);
    assert.equal(code, 125);
    assert.match(stderr, /nowhere\.json cannot be read/);
  });

  test('is read anew at every checkpoint, and told of when it has become unusable', async () => {
    const cwd = directory();
    const original = await begin(person, 'none', [], { cwd });
    writeFileSync(join(cwd, 'forkpoint.config.json'), '{"descriptors":7}');
    const { code, stderr } = await person.finish(['checkpoint', original.run.id, './unusable']);
    assert.equal(code, 1);
    assert.match(stderr, /forkpoint\.config\.json is not usable: descriptors/);
    await fetchText(original.port);
  });
});
