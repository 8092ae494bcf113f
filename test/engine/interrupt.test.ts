import assert from 'node:assert/strict';
import { readdirSync, readlinkSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';
import { compileDynamic } from './build.ts';
import { filesBelow } from './image-digest.ts';
import { detach, digested, logged } from './pods.ts';

/** What changes of a file when its content does. */
function factsOf(directory: string): unknown[] {
  return filesBelow(directory).map((name) => {
    const { ino, size, mtimeMs } = statSync(join(directory, name));
    return [name, ino, size, mtimeMs];
  });
}

/** Whether a command waits for an answer: it then watches the directory in which that appears. */
function watches({ child }: Running): boolean {
  const directory = `/proc/${child.pid}/fd`;
  return readdirSync(directory).some((fd) => {
    try {
      return readlinkSync(join(directory, fd)) === 'anon_inode:inotify';
    } catch {
      // It was closed in between.
      return false;
    }
  });
}

const drafts = (directory: string): string[] =>
  readdirSync(directory).filter((name) => name.endsWith('.tmp'));

describe('work on a large image', () => {
  let person: Person;
  let image: string;
  let program: string;
  before(async () => {
    person = createPerson();
    image = join(person.home, 'images/large');
    program = join(person.scratch, 'chain');
    await compileDynamic(programPath('c/chain.c'), program);
    const id = await detach(person, [program, '200', '20']);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, image, '--no-sync', '--stop']);
    await digested(image);
  });
  after(async () => await person.leave());

  /** Waits until a command has a page file of an image open: then it is at work. */
  async function atWork({ child }: Running): Promise<void> {
    const isOpen = (): boolean => {
      const directory = `/proc/${child.pid}/fd`;
      return readdirSync(directory).some((fd) => {
        try {
          return readlinkSync(join(directory, fd)).startsWith(`${image}/layers/`);
        } catch {
          // It was closed in between.
          return false;
        }
      });
    };
    await eventually(() => isOpen() || undefined, 'a page file being read');
  }

  const beside = (): string[] =>
    [person.scratch, join(person.home, 'images'), join(person.home, 'cache')].flatMap((directory) =>
      readdirSync(directory).filter((name) => name.startsWith('.') || /\.(tmp|new)$/.test(name)),
    );

  /** Ends a command at its work by Ctrl-C, and returns what it said. */
  async function interrupted(...words: string[]): Promise<string> {
    const running = person.forkpoint(words);
    await atWork(running);
    running.child.kill('SIGINT');
    const { code, stdout, stderr } = await running.end();
    assert.deepEqual([code, stdout], [1, '']);
    assert.deepEqual(beside(), []);
    return stderr;
  }

  for (const verb of ['compress', 'verify', 'flatten']) {
    test(`${verb}: Ctrl-C ends it, says so, and leaves the image as it was and nothing beside it`, async () => {
      const before = factsOf(image);
      assert.equal(await interrupted(verb, image), 'Error: interrupted; every image is as it was\n');
      assert.deepEqual(factsOf(image), before);
    });
  }

  test('gc: Ctrl-C ends it, says so, and leaves what it did not come to as it was', async () => {
    const copy = join(person.home, 'images/copy');
    const copied = await person.start(['cp', '-a', image, copy]).end();
    assert.equal(copied.code, 0, copied.stderr);
    const before = [image, copy].map(factsOf);
    const said = 'Error: interrupted; what was not removed yet is as it was\n';
    assert.equal(await interrupted('gc', '--dedup'), said);
    assert.deepEqual([image, copy].map(factsOf), before);
    assert.equal((await person.finish(['rm', 'copy'])).code, 0);
  });

  test('checkpoint: Ctrl-C takes it back: no image, nothing beside it, and the program goes on as it was', async () => {
    const id = await detach(person, [program, '200', '20']);
    await logged(person, id, /^up$/m);
    const running = person.forkpoint(['checkpoint', id, './given-up', '--compress', '--no-sync']);
    await eventually(() => drafts(person.scratch)[0], 'the image in the making');
    running.child.kill('SIGINT');
    const { code, stdout, stderr } = await running.end();
    assert.deepEqual([code, stdout], [1, ''], stderr);
    assert.match(
      stderr,
      /^Error: The checkpoint of .* failed: it was given up by whoever had asked for it\n/,
    );
    assert.deepEqual(readdirSync(person.scratch), ['chain']);
    assert.deepEqual(readdirSync(join(person.home, 'runs', id, 'results')), []);
    await person.finish(['kill', id, '--signal', 'USR2']);
    await logged(person, id, /^right /m);
    // A request that waits behind another one is taken back as well.
    const first = person.forkpoint(['checkpoint', id, './first', '--no-sync']);
    await eventually(() => drafts(person.scratch)[0], 'the first image in the making');
    const second = person.forkpoint(['checkpoint', id, './second', '--no-sync', '--timeout', '60']);
    await eventually(() => watches(second) || undefined, 'the second one waiting');
    second.child.kill('SIGINT');
    const gone = await second.end();
    assert.equal(gone.code, 1, gone.stdout);
    assert.match(gone.stderr, /given up/);
    assert.equal((await first.end()).code, 0);
    assert.deepEqual(readdirSync(person.scratch).sort(), ['chain', 'first']);
  });

  test('nothing of its progress is written into a pipe', async () => {
    const packed = await person.finish(['compress', image, '--no-sync']);
    assert.match(packed.stderr, /^Compressed \S+: [^\r]*\.\n$/);
    assert.equal(packed.stdout, `${image}\n`);
  });

  test('decompress: Ctrl-C ends it, says so, and leaves the image as it was and nothing beside it', async () => {
    const before = factsOf(image);
    assert.equal(await interrupted('decompress', image), 'Error: interrupted; every image is as it was\n');
    assert.deepEqual(factsOf(image), before);
  });
});
