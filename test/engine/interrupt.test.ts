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

describe('work on a large image', () => {
  let person: Person;
  let image: string;
  before(async () => {
    person = createPerson();
    image = join(person.scratch, 'large');
    const program = join(person.scratch, 'chain');
    await compileDynamic(programPath('c/chain.c'), program);
    const id = await detach(person, [program, '200', '20']);
    await logged(person, id, /^up$/m);
    await person.json(['checkpoint', id, image, '--no-sync', '--stop']);
    await digested(image);
  });
  after(async () => await person.leave());

  /** Waits until a command has a page file open: then it is at work. */
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

  for (const verb of ['compress', 'verify', 'flatten']) {
    test(`${verb}: Ctrl-C ends it, says so, and leaves the image as it was and nothing beside it`, async () => {
      const before = factsOf(image);
      const running = person.forkpoint([verb, image]);
      await atWork(running);
      running.child.kill('SIGINT');
      const { code, stderr } = await running.end();
      assert.deepEqual([code, stderr], [1, 'Error: interrupted; every image is as it was\n']);
      assert.deepEqual(factsOf(image), before);
      assert.deepEqual(
        readdirSync(person.scratch).filter((name) => name.startsWith('.')),
        [],
      );
    });
  }

  test('nothing of its progress is written into a pipe', async () => {
    const packed = await person.finish(['compress', image, '--no-sync']);
    assert.match(packed.stderr, /^Compressed \S+: [^\r]*\.\n$/);
    assert.equal(packed.stdout, `${image}\n`);
  });
});
