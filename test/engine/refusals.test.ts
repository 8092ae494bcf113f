import assert from 'node:assert/strict';
import {
  chmodSync,
  chownSync,
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  truncateSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { once } from 'node:events';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { restoreAnywhere, startServer } from './helpers.ts';
import { detach, digested, living, logged, shell } from './pods.ts';

/** Checks that a command was refused in words, and that nothing of it is left. */
function refused({ code, stdout, stderr }: Finished, pattern: RegExp, expected = 125): void {
  assert.equal(code, expected, stderr + stdout);
  assert.equal(stdout, '');
  assert.match(stderr, /^Error: /);
  assert.match(stderr, pattern);
  assert.doesNotMatch(stderr, /^ +at /m, 'no stack is shown');
}

/** What a message has to say of a damaged file. */
const naming = (name: string): RegExp =>
  name === 'manifest.json' ? /manifest/ : new RegExp(name.replaceAll('.', '\\.'));
const hinted = (result: Finished): void => assert.match(result.stderr, /^Hint: \S/m, result.stderr);

describe('an image that cannot be restored is refused in words, before anything starts', () => {
  let person: Person;
  let image: string;
  before(async () => {
    person = createPerson();
    await person.json([
      'run',
      '-d',
      '--name',
      'plain',
      '--',
      ...shell('ask ./image; echo restored; exec sleep 60'),
    ]);
    assert.equal((await person.finish(['wait', 'plain'])).code, 0);
    image = join(person.scratch, 'image');
    // Nothing appears in it or goes while it is copied.
    await digested(image);
  });
  after(async () => await person.leave());

  const copied = async (): Promise<string> => {
    const copy = join(person.scratch, 'copy');
    rmSync(copy, { recursive: true, force: true });
    assert.equal((await person.start(['cp', '-a', image, copy]).end()).code, 0);
    return copy;
  };
  /** Copies the image, changes the copy, and restores it. */
  const changed = async (change: (copy: string) => void): Promise<Finished> => {
    const copy = await copied();
    change(copy);
    const runs = readdirSync(join(person.home, 'runs'));
    const result = await person.finish(['restore', copy, '-d', '--timeout', '10']);
    assert.deepEqual(readdirSync(join(person.home, 'runs')), runs, 'no run is left');
    assert.deepEqual(await living(person), []);
    rmSync(copy, { recursive: true });
    return result;
  };

  test('missing, empty, foreign, or a file', async () => {
    refused(await person.finish(['restore', './nowhere']), /nowhere/);
    refused(await person.finish(['restore', 'no-such-name']), /no-such-name/);
    mkdirSync(join(person.scratch, 'empty'));
    refused(await person.finish(['restore', './empty']), /empty/);
    mkdirSync(join(person.scratch, 'foreign', 'photos'), { recursive: true });
    refused(await person.finish(['restore', './foreign']), /foreign/);
    assert.deepEqual(readdirSync(join(person.scratch, 'foreign')), ['photos']);
    writeFileSync(join(person.scratch, 'file'), 'text');
    refused(await person.finish(['restore', './file']), /file/);
    assert.deepEqual(readdirSync(join(person.home, 'runs')).length, 1);
  });

  test('with any of its files cut in half, empty or gone', async () => {
    const files = readdirSync(image).filter(
      // A restore reads neither the digests nor the little program.
      (name) => !['restore', 'digests.json'].includes(name) && statSync(join(image, name)).isFile(),
    );
    assert.ok(
      ['restore.plan', 'manifest.json', 'pages-1.img'].every((name) => files.includes(name)),
      files.join(),
    );
    assert.ok(files.some((name) => name.startsWith('core-')));
    for (const name of files) {
      const { size } = statSync(join(image, name));
      const half = await changed((copy) => truncateSync(join(copy, name), Math.floor(size / 2)));
      refused(half, naming(name));
      hinted(half);
    }
    for (const name of ['restore.plan', 'manifest.json', 'inventory.img', 'pages-1.img']) {
      refused(await changed((copy) => truncateSync(join(copy, name), 0)), naming(name));
      refused(await changed((copy) => rmSync(join(copy, name))), naming(name));
    }
  });

  test('damaged in a way that only CRIU notices', async () => {
    const name = readdirSync(image).find((file) => file.startsWith('core-')) ?? '';
    const result = await changed((copy) => {
      const bytes = readFileSync(join(copy, name));
      writeFileSync(join(copy, name), bytes.fill(0xff, 8));
    });
    refused(result, /CRIU/);
  });

  test('of a newer format', async () => {
    const edit = (name: string, from: string, to: string) => (copy: string) => {
      const text = readFileSync(join(copy, name), 'latin1');
      assert.ok(text.includes(from), name);
      writeFileSync(join(copy, name), text.replace(from, to), 'latin1');
    };
    refused(await changed(edit('manifest.json', '"formatVersion": 2', '"formatVersion": 3')), /format 3\b/);
    refused(
      await changed(edit('restore.plan', ['restore', '1', ''].join('\0'), ['restore', '2', ''].join('\0'))),
      /version 1 of restore plans, not version "2"/,
    );
    refused(await changed(edit('restore.plan', 'forkpoint-plan', 'somebody-plan!')), /plan/);
  });

  test('of another processor, with other files, in another place: every reason at once', async () => {
    const result = await changed((copy) => {
      for (const name of ['manifest.json', 'restore.plan']) {
        const text = readFileSync(join(copy, name), 'latin1');
        writeFileSync(
          join(copy, name),
          text.replaceAll('/usr/bin/sleep', '/usr/bin/slept').replaceAll(/libc\.so\.6/g, 'libd.so.6'),
          'latin1',
        );
      }
    });
    refused(result, /libd\.so\.6 is missing/);
    const twice = await changed((copy) => {
      truncateSync(join(copy, 'pages-1.img'), 4096);
      const name = readdirSync(copy).find((file) => file.startsWith('mm-')) ?? '';
      truncateSync(join(copy, name), 20);
    });
    refused(
      twice,
      /pages-1\.img has 4096 bytes[^]*mm-\d+\.img has 20 bytes|mm-\d+\.img has 20 bytes[^]*pages-1\.img has 4096 bytes/,
    );
  });

  test('with --or-run its command is started instead, and CRaC’s spelling is the same', async () => {
    const copy = await copied();
    const manifest: unknown = JSON.parse(readFileSync(join(copy, 'manifest.json'), 'utf8'));
    assert.ok(typeof manifest === 'object' && manifest !== null);
    writeFileSync(join(copy, 'manifest.json'), JSON.stringify({ ...manifest, command: ['echo', 'booted'] }));
    truncateSync(join(copy, 'pages-1.img'), 0);
    for (const option of ['--or-run', '--ignore-restore-if-unavailable']) {
      const { code, stdout, stderr } = await person.finish([
        'restore',
        './copy',
        option,
        '--',
        'with',
        'arguments',
      ]);
      assert.equal(code, 0, stderr);
      assert.equal(stdout, 'booted with arguments\n');
      assert.match(stderr, /pages-1\.img/, 'it says why');
    }
    const both = await person.finish(['restore', './nowhere', '--or-run']);
    refused(both, /nowhere/);
  });

  test('with --or-run, a manifest that names a set-ID program has it run with no more than the user has', async () => {
    const copy = await copied();
    const [program, mine] = [join(person.scratch, 'set-id'), `uid=${person.uid}`];
    copyFileSync('/usr/bin/id', program);
    // Root's where root runs the tests: whoever starts it outside of a pod is root.
    chmodSync(program, 0o6755);
    const outside = await person.start([program]).end();
    assert.equal(outside.stdout.includes('euid=0'), process.getuid?.() === 0, outside.stdout);
    const manifest = JSON.parse(readFileSync(join(copy, 'manifest.json'), 'utf8')) as object;
    writeFileSync(join(copy, 'manifest.json'), JSON.stringify({ ...manifest, command: [program] }));
    truncateSync(join(copy, 'pages-1.img'), 0);
    const { code, stdout, stderr } = await person.finish(['restore', './copy', '--or-run']);
    assert.equal(code, 0, stderr);
    assert.ok(stdout.startsWith(mine), stdout);
    assert.doesNotMatch(stdout, /euid|egid/);
  });

  test('and nothing was lost: the image itself works', async () => {
    const { stdout } = await person.finish(['restore', image, '-d', '--json']);
    assert.ok(stdout.startsWith('{'));
    const { id } = JSON.parse(stdout) as { id: string };
    await logged(person, id, /^restored$/m);
    assert.equal((await person.finish(['kill', id])).code, 0);
  });

  test('without an engine, set-up is what is asked for', async () => {
    const env = { FORKPOINT_HOME: join(person.scratch, 'own-home') };
    for (const words of [
      ['restore', './image'],
      ['run', '--', 'true'],
    ]) {
      const result = await person.finish(words, { env });
      refused(result, /set up/);
      assert.match(result.stderr, /^Hint: .*forkpoint setup/m);
    }
  });
});

describe('a program whose files have changed', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('another node binary or a missing mapped file is named', async () => {
    const node = join(person.scratch, 'node');
    copyFileSync(nodeBinary(24), node);
    chmodSync(node, 0o755);
    const id = await detach(person, [node, programPath('pulse.mjs')]);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, './own-node', '--stop']);
    const before = await person.finish(['restore', './own-node', '-d']);
    assert.equal(before.code, 0, before.stderr);
    await person.finish(['kill', before.stdout.trim()]);
    rmSync(node);
    refused(await person.finish(['restore', './own-node']), /node is missing/);
    copyFileSync(nodeBinary(20), node);
    refused(await person.finish(['restore', './own-node']), /node has changed/);
    copyFileSync(nodeBinary(24), node);
    utimesSync(node, 1, 1);
    const same = await person.finish(['restore', './own-node']);
    refused(same, /node has changed/);
    assert.match(same.stderr, /^Hint: Take the checkpoint again$/m);
  });
});

describe('a server', () => {
  let person: Person;
  let image: string;
  before(async () => {
    person = createPerson();
    const { run } = await startServer(person);
    await person.json(['checkpoint', run.id, './server', '--stop']);
    image = join(person.scratch, 'server');
  });
  after(async () => await person.leave());

  test('whose port is in use is refused, with the way out, and a wrong slot or address too', async () => {
    const { port } = await restoreAnywhere(person, image);
    const taken = await person.finish(['restore', image, '--listen', `${await slot()}=127.0.0.1:${port}`]);
    refused(taken, new RegExp(`127\\.0\\.0\\.1:${port} is in use`));
    assert.match(taken.stderr, /^Hint: .*--listen/m);
    const other = createServer().listen(await originalPort(), '127.0.0.1');
    await once(other, 'listening');
    refused(await person.finish(['restore', image]), /is in use/);
    const gap = await person.finish(['restore', image, '--cwd', '/no/such/place']);
    refused(gap, /\/no\/such\/place/);
    assert.match(gap.stderr, /is in use/, 'both reasons are shown');
    other.close();
    refused(await person.finish(['restore', image, '--listen', 'nonsense=1234']), /nonsense/);
    refused(await person.finish(['restore', image, '--listen', `${await slot()}=127.0.0.1:99999`]), /99999/);
    refused(
      await person.finish(['restore', image, '--listen', `${await slot()}=192.0.2.1:80`]),
      /192\.0\.2\.1/,
    );
    assert.match(await fetchText(port, '/item/3'), /value 3/, 'the first clone is not disturbed');
  });

  const slot = async (): Promise<string> => {
    const manifest = (await person.json(['inspect', image])) as { slots: { id: string; kind: string }[] };
    return manifest.slots.find(({ kind }) => kind === 'tcp')?.id ?? '';
  };
  const originalPort = async (): Promise<number> => {
    const manifest = (await person.json(['inspect', image])) as { slots: { kind: string; port: number }[] };
    return manifest.slots.find(({ kind }) => kind === 'tcp')?.port ?? 0;
  };
});

describe('commands on runs', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('name what they do not know, and an unwritable destination costs nothing', async () => {
    for (const words of [
      ['checkpoint', 'nobody'],
      ['kill', 'nobody'],
      ['logs', 'nobody'],
      ['wait', 'nobody'],
    ]) {
      refused(await person.finish(words), /nobody/, 1);
    }
    const first = await detach(person, shell('echo up; exec sleep 60'), ['--name', 'server-a']);
    refused(await person.finish(['run', '-d', '--name', 'server-a', '--', 'true']), /server-a/);
    // Of seventeen ids two begin with the same digit.
    const ids = [first];
    while (ids.length < 17)
      ids.push(...(await Promise.all([1, 2].map(async () => await detach(person, ['sleep', '60'])))));
    const digits = ids.map((id) => id[0] ?? '');
    const twice = digits.find((digit, index) => digits.indexOf(digit) !== index) ?? '';
    refused(await person.finish(['kill', twice]), /may be any of \d+ runs/, 1);
    assert.equal((await living(person)).length, ids.length);
    const closed = join(person.scratch, 'closed');
    mkdirSync(closed, { mode: 0o555 });
    chownSync(closed, person.uid, person.uid);
    for (const destination of ['./closed/image', '/proc/image', '/dev/null/image']) {
      refused(
        await person.finish(['checkpoint', 'server-a', destination]),
        new RegExp(destination.split('/')[1] ?? ''),
        1,
      );
    }
    assert.deepEqual(readdirSync(closed), []);
    assert.equal(existsSync(join(person.scratch, 'deep')), false);
    assert.equal((await person.finish(['checkpoint', 'server-a', './deep/new/image'])).code, 0);
  });

  test('and options: usage is 2', async () => {
    for (const words of [
      ['checkpoint'],
      ['frobnicate'],
      ['kill', 'x', '--signal', 'NOSUCH'],
      ['checkpoint', 'x', '--timeout', 'soon'],
    ]) {
      const { code, stderr } = await person.finish(words);
      assert.equal(code, 2, `${words.join(' ')}: ${stderr}`);
    }
  });
});
