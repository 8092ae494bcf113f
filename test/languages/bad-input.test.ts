// What a person of each language reads when something is wrong: the exception of that language, with the reason and the next step.
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { cpSync, renameSync } from 'node:fs';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, programPath, root } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { detach, logged } from '../engine/pods.ts';
import { compileJava, javaClient, language, orgCrac } from './clients.ts';

const LIMIT = { timeoutMs: 120_000 };

describe('bad input is told in the words of the language', () => {
  let person: Person;
  let app: readonly string[] = [];
  before(() => {
    person = createPerson();
    const classes = compileJava('crac', [programPath('languages/CracApp.java')], [orgCrac]);
    app = ['-XX:+UseSerialGC', '-cp', `${classes}:${orgCrac}`, 'CracApp'];
  });
  after(async () => await person.leave());

  const run = async (...words: string[]): Promise<Finished> =>
    await person.finish(['run', '--', ...words], LIMIT);

  test('a JVM flag of which no checkpoint can be taken is warned of at the start, and named in the exception', async () => {
    const flags = [`-XX:AllocateHeapAt=${person.scratch}`, '-XX:CRaCCheckpointTo=flag'];
    const { code, stdout, stderr } = await run(language('java'), ...flags, ...app, 'runs');
    assert.equal(code, 0, stderr);
    assert.match(stderr, /Warning: the heap is in a file without a name \(-XX:AllocateHeapAt\)/);
    assert.match(stdout, /^suppressed dev\.forkpoint\.ForkpointException: .*start it without$/m);
  });

  test('an open connection is lost in the clone by the usual SocketException, and another one can be opened', async () => {
    const server = createServer((socket) => socket.on('error', () => undefined).pipe(socket));
    await once(server.listen(0, '127.0.0.1'), 'listening');
    try {
      const { port } = server.address() as AddressInfo;
      const words = ['-XX:CRaCCheckpointTo=open', ...app, 'connected', String(port)];
      assert.equal((await run(language('java'), ...words)).code, 0);
      const { code, stdout, stderr } = await person.finish(['restore', './open'], LIMIT);
      assert.equal(code, 0, stderr);
      assert.match(stdout, /^(Broken pipe|Connection reset|read -1)\nconnected again 1\n$/);
    } finally {
      server.close();
    }
  });

  test('the image of another build of Java says which build it belongs to, and which one is there', async () => {
    const home = join(person.scratch, 'jdk');
    cpSync(join(root, '.forkpoint/languages/jdk25'), home, { recursive: true });
    const java = join(home, 'bin/java');
    assert.equal((await run(java, '-XX:CRaCCheckpointTo=build', ...app, 'runs')).code, 0);
    // As an update does: another file under the same name.
    const library = join(home, 'lib/server/libjvm.so');
    cpSync(library, `${library}.new`);
    renameSync(`${library}.new`, library);
    const { code, stderr } = await run(java, '-XX:CRaCRestoreFrom=build');
    assert.equal(code, 125, stderr);
    assert.match(stderr, /The image belongs to the build 25\S+ of Java in \S+\/jdk, and another build, 25/);
    assert.match(stderr, /Hint: Restore with the JDK that the image was taken with/);
  });

  test('a program that has not loaded its client is named by the checkpoint, with what to add', async () => {
    const classes = compileJava('heap', [join(root, 'bench/programs/Heap.java')], []);
    const java = [language('java'), '-XX:-UsePerfData', '-XX:+UseSerialGC', '-cp', classes, 'Heap'];
    const programs = {
      'has not imported forkpoint: .* equal in all clones; `import forkpoint` early': [
        ...[language('python3'), '-c', 'import time; print("ready ", flush=True); time.sleep(600)'],
      ],
      "has not required forkpoint: .* equal in all clones; `require 'forkpoint'` early": [
        ...[language('ruby'), '-e', '$stdout.sync = true; puts "ready "; sleep 600'],
      ],
      'runs without the Java client: .* equal in all clones; start it by `forkpoint run -- java`': [
        ...['env', 'BENCH_MB=8', `BENCH_FIFO=${join(person.scratch, 'none')}`, ...java],
      ],
    };
    await Promise.all(
      Object.entries(programs).map(async ([said, argv]) => {
        const id = await detach(person, argv, ['--no-preload']);
        await logged(person, id, /^ready /m, 60_000);
        const { code, stderr } = await person.finish(['checkpoint', id, '--dry-run'], LIMIT);
        assert.equal(code, 0, stderr);
        assert.match(stderr, new RegExp(`Warning: process \\d+ \\(.*\\) ${said}`));
      }),
    );
  });

  test('outside a pod every client names the command that is missing', async () => {
    const classes = compileJava('draws', [programPath('languages/Draws.java')], [javaClient]);
    const paths = ['python/src', 'ruby/lib'].map((path) => join(root, 'clients', path));
    const programs = {
      'forkpoint._errors.CheckpointError: .* forkpoint run -- python3 ': [
        ...[
          `PYTHONPATH=${paths[0]}`,
          language('python3'),
          '-c',
          'import forkpoint; forkpoint.checkpoint("x")',
        ],
      ],
      'forkpoint run -- ruby .*\\(Forkpoint::CheckpointError\\)': [
        ...[`RUBYLIB=${paths[1]}`, language('ruby'), '-rforkpoint', '-e', 'Forkpoint.checkpoint("x")'],
      ],
      'Exception in thread "main" dev.forkpoint.ForkpointException: .* forkpoint run -- java ': [
        ...[language('java'), '-cp', `${classes}:${javaClient}`, 'Draws', 'x'],
      ],
    };
    await Promise.all(
      Object.entries(programs).map(async ([said, argv]) => {
        const options = { ...LIMIT, env: { FORKPOINT_DIR: undefined } };
        const { code, stderr } = await person.start(['env', ...argv], options).end();
        assert.equal(code, 1, stderr);
        assert.match(stderr.replaceAll('`', ''), new RegExp(said));
      }),
    );
  });
});
