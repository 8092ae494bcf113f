import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, programPath, root } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { detach, logged, logOf } from '../engine/pods.ts';
import { compileJava, language, orgCrac } from './clients.ts';

const LIMIT = { timeoutMs: 120_000 };

describe('a program compiled against org.crac, on a stock JDK', () => {
  let person: Person;
  let classPath = '';
  before(() => {
    person = createPerson();
    const sources = ['CracApp', 'Compiling'].map((name) => programPath(`languages/${name}.java`));
    classPath = `${compileJava('crac-java', sources, [orgCrac])}:${orgCrac}`;
  });
  after(async () => await person.leave());

  const java = async (flags: readonly string[], ...words: string[]): Promise<Finished> =>
    await person.finish(['run', '--', language('java'), '-XX:+UseSerialGC', ...flags, ...words], LIMIT);
  const app = (...flags: string[]): Promise<Finished> =>
    java([...flags, '-cp', classPath], 'CracApp', 'runs');

  test('is checkpointed where -XX:CRaCCheckpointTo says, and restored by -XX:CRaCRestoreFrom with properties', async () => {
    const taken = await app('-XX:CRaCCheckpointTo=cr');
    assert.deepEqual([taken.code, taken.stdout], [0, 'before b\nbefore a\n'], taken.stderr);
    const restored = await java(['-XX:CRaCRestoreFrom=cr', '-Dcolour=blue']);
    assert.deepEqual(
      [restored.code, restored.stdout],
      [0, 'after a blue\nafter b blue\nmain goes on [runs]\n'],
      restored.stderr,
    );
  });

  test('runs a new main class with new arguments, which may checkpoint again and may end the JVM', async () => {
    assert.equal((await app('-XX:CRaCCheckpointTo=main')).code, 0);
    const nasty = ['a b', '"', "'", '$x', ''];
    const words = ['restore', './main', '--main', 'CracApp$Other', '-Dcolour=red', '--', ...nasty];
    const other = await person.finish(words, LIMIT);
    const said = `after a red\nafter b red\nother [${nasty.join(', ')}]\nmain goes on [runs]\n`;
    assert.deepEqual([other.code, other.stdout], [0, said], other.stderr);
    const exits = await person.finish(['restore', './main', '--main', 'CracApp$Other', '--', 'exit'], LIMIT);
    assert.equal(exits.code, 5, exits.stderr);
    const again = await person.finish(
      ['restore', './main', '--to', './second', '--main', 'CracApp$Other', '--', 'again'],
      LIMIT,
    );
    assert.equal(again.code, 0, again.stderr);
    const second = await person.finish(['restore', './second'], LIMIT);
    const rest = 'after a null\nafter b null\nother goes on\nmain goes on [runs]\n';
    assert.deepEqual([second.code, second.stdout], [0, rest], second.stderr);
  });

  test('a main class that is not there ends the JVM with the words of the java command', async () => {
    assert.equal((await app('-XX:CRaCCheckpointTo=wrong')).code, 0);
    const { code, stderr } = await person.finish(['restore', './wrong', '--main', 'no.Such'], LIMIT);
    assert.equal(code, 1);
    assert.match(stderr, /Could not find or load main class no\.Such\nCaused by: .*ClassNotFoundException/);
  });

  test('a resource that throws makes no image: the exceptions of both phases are suppressed ones', async () => {
    const failed = await java(['-XX:CRaCCheckpointTo=no', '-cp', classPath], 'CracApp', 'fails');
    assert.deepEqual(
      [failed.code, failed.stdout],
      [
        0,
        'before b\nbefore a\nafter a null\nafter b null\n' +
          'suppressed java.lang.IllegalStateException: a connection is open\n' +
          'suppressed java.lang.IllegalArgumentException: cannot connect again\n',
      ],
      failed.stderr,
    );
  });

  test('what the JVM was compiling is compiled before the image is taken, so that no clone has to, but not for ever', async () => {
    const take = (name: string, limitMs: number, workMs: number): Promise<Finished> => {
      const flags = [`-XX:CRaCCheckpointTo=${name}`, `-Dforkpoint.compileMs=${limitMs}`, '-cp', classPath];
      return java(flags, 'Compiling', String(workMs));
    };
    const waited = await take('compiled', 60_000, 2500);
    assert.deepEqual([waited.code, waited.stdout], [0, 'after it\n'], waited.stderr);
    const hurried = await take('hurried', 100, 60_000);
    assert.deepEqual([hurried.code, hurried.stdout], [0, 'while it compiles\n'], hurried.stderr);
  });

  test('org.crac’s management bean tells when the JVM was restored and how long ago', async () => {
    const taken = await java(['-XX:CRaCCheckpointTo=bean', '-cp', classPath], 'CracApp', 'figures');
    assert.deepEqual([taken.code, taken.stdout], [0, 'never restored -1 -1\n'], taken.stderr);
    const restored = await person.finish(['restore', './bean'], LIMIT);
    assert.deepEqual([restored.code, restored.stdout], [0, 'restored true true true\n'], restored.stderr);
  });

  test('outside a pod it registers, and a checkpoint is not implemented', async () => {
    const { stdout } = await person
      .start([language('java'), '-cp', classPath, 'CracApp', 'runs'], LIMIT)
      .end();
    assert.equal(stdout, 'not implemented\n');
  });

  test('the heap of ZGC comes back: a memfd that is larger than what is mapped of it', async () => {
    const classes = compileJava('heap', [join(root, 'bench/programs/Heap.java')], []);
    const fifo = join(person.scratch, 'fifo');
    const heap = ['env', 'BENCH_MB=32', `BENCH_FIFO=${fifo}`, language('java'), '-XX:+UseZGC', '-Xms96m'];
    const id = await detach(person, [...heap, '-Xmx512m', '-cp', classes, 'Heap']);
    await logged(person, id, /^ready /m);
    const digest = /^ready (\w+)$/m.exec(logOf(person, id))?.[1];
    await person.json(['checkpoint', id, './zgc', '--stop']);
    execFileSync('mkfifo', ['-m', '666', fifo]);
    const restored = person.forkpoint(['restore', './zgc'], LIMIT);
    const said = execFileSync('cat', [fifo], { encoding: 'utf8', timeout: LIMIT.timeoutMs });
    assert.match(said, new RegExp(`^first callback\ndigest ${digest} `));
    assert.equal((await restored.end()).code, 0);
  });

  test('inspect tells what was added to the JVM, and why', async () => {
    const inspected = (await person.json(['inspect', './cr'])) as { flags: { flag: string; why: string }[] };
    const flags = inspected.flags.map(({ flag }) => flag);
    assert.ok(flags.includes('-XX:-UsePerfData') && flags.includes('LD_PRELOAD'), flags.join(' '));
    assert.ok(inspected.flags.every(({ why }) => why.length > 20));
  });
});
