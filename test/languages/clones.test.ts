import assert from 'node:assert/strict';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, programPath, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { logged } from '../engine/pods.ts';
import { compileJava, javaClient, language, pythonPackages } from './clients.ts';

const LIMIT = { timeoutMs: 120_000 };

/** A program that prints `NAME VALUE` for every generator in a clone, and which of the names are equal in all clones. */
interface Program {
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  readonly equal: readonly string[];
  /** What comes from the kernel each time: it differs even where nothing is renewed. */
  readonly kernel: readonly string[];
}

async function drawn(person: Person, image: string, ...flags: string[]): Promise<Map<string, string>> {
  const { code, stdout, stderr } = await person.finish(['restore', image, ...flags], LIMIT);
  assert.equal(code, 0, stderr);
  return new Map(
    stdout
      .trim()
      .split('\n')
      .map((line) => [line.slice(0, line.indexOf(' ')), line.slice(line.indexOf(' ') + 1)]),
  );
}

async function check(
  person: Person,
  name: string,
  { command, env = {}, equal, kernel }: Program,
): Promise<void> {
  const taken = await person.finish(['run', '--', ...command, `./${name}`], { ...LIMIT, env });
  assert.equal(taken.code, 0, taken.stdout + taken.stderr);
  const [one, two] = await Promise.all([drawn(person, `./${name}`), drawn(person, `./${name}`)]);
  const same = [...one].filter(([key, value]) => two.get(key) === value).map(([key]) => key);
  assert.deepEqual(same, equal, 'renewed');
  assert.deepEqual([...one.keys()], [...two.keys()]);
  // The same with renewal switched off finds what is equal: the first test can fail.
  const [three, four] = [
    await drawn(person, `./${name}`, '--no-reseed'),
    await drawn(person, `./${name}`, '--no-reseed'),
  ];
  const different = [...three].filter(([key, value]) => four.get(key) !== value).map(([key]) => key);
  assert.deepEqual(different, kernel, 'not renewed');
}

describe('every row of the pages about clones', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('docs/clones-java.md tells what differs in clones of a JVM and what is equal', async () => {
    const classes = compileJava('draws', [programPath('languages/Draws.java')], [javaClient]);
    await check(person, 'java', {
      command: [language('java'), '-XX:+UseSerialGC', '-cp', classes, 'Draws'],
      equal: ['old-Random', 'old-DRBG', 'old-SplittableRandom'],
      // The JDK mixes the clock into the seed of a Random.
      kernel: ['new-Random', 'SecureRandom', 'UUID'],
    });
  });

  test('docs/clones-python.md tells what differs in clones of a Python process and what is equal', async () => {
    await check(person, 'python', {
      command: [language('python3'), programPath('languages/draws.py')],
      env: { PYTHONPATH: pythonPackages },
      equal: ['seeded', 'numpy-legacy-seeded', 'numpy-default-seeded', 'hash'],
      kernel: ['uuid1', 'uuid4', 'secrets'],
    });
  });

  test('docs/clones-ruby.md tells what differs in clones of a Ruby process and what is equal', async () => {
    await check(person, 'ruby', {
      command: [language('ruby'), programPath('languages/draws.rb')],
      equal: ['seeded', 'hash'],
      kernel: ['securerandom'],
    });
  });

  test('a native library that is loaded and deleted does not stand in the way', async () => {
    const script = `
import ctypes, os, shutil, sys, forkpoint
shutil.copy(sys.argv[1], "./native.so")
native = ctypes.CDLL("./native.so")
os.unlink("./native.so")
print(os.path.exists("./native.so"), forkpoint.checkpoint_restore("./native").generation, native.abs(-3))`;
    const libc = '/lib/x86_64-linux-gnu/libc.so.6';
    const taken = await person.finish(['run', '--', language('python3'), '-c', script, libc], LIMIT);
    assert.equal(taken.code, 0, taken.stderr);
    const clones = await Promise.all([1, 2].map(() => person.finish(['restore', './native'], LIMIT)));
    for (const { stdout, stderr } of clones) assert.equal(stdout, 'False 1 3\n', stderr);
  });

  test('who is woken gets the interpreter’s lock back from a thread that only computes', async () => {
    // That thread has waited for the lock since before the checkpoint, and is given it as soon as open(2) returns; that takes
    // longer than the 5 ms after which it asks.
    const script = `
import os, sys, threading, time
from forkpoint import _gil
def compute():
    while True: pass
os.mkfifo("./woken")
threading.Thread(target=compute, daemon=True).start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        time.sleep(0.1)
        os.close(os.open("./woken", os.O_WRONLY))
        os._exit(0)
    with _gil.no_switch():
        before = sys.getswitchinterval()
        _gil.close_file(_gil.open_waiting("./woken", os.O_RDONLY))
        woken = sys.getswitchinterval()
    os.waitpid(child, 0)
print(before > 10 * woken, woken < 1, sys.getswitchinterval() < 0.01)`;
    const env = { PYTHONPATH: join(root, 'clients/python/src') };
    const { code, stdout, stderr } = await person
      .start([language('python3'), '-c', script], { timeoutMs: 25_000, env })
      .end();
    assert.deepEqual([code, stdout], [0, 'True True True\n'], stderr);
  });

  test('asynchronous hooks run in the loop, asked from inside and from outside, and its clock goes on', async () => {
    const run = (await person.json(
      ['run', '-d', '--', language('python3'), programPath('languages/aio.py'), './inside'],
      LIMIT,
    )) as { id: string };
    await logged(person, run.id, /^continued$/m, 60_000);
    const taken = await person.finish(['checkpoint', run.id, './aio', '--stop'], LIMIT);
    assert.equal(taken.code, 0, taken.stderr);
    const restored = await person.finish(['restore', './aio', '--', 'end'], LIMIT);
    assert.deepEqual([restored.code, restored.stdout], [0, 'after 1\nticks True\n'], restored.stderr);
  });
});
