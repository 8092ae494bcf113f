import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';

const counter = programPath('counter.mjs');

/** Returns the numbers of the lines in an output. */
function lines(output: string): number[] {
  return [...output.matchAll(/^line (\d+)$/gm)].map((match) => Number(match[1]));
}

describe('JDK-8339662: the destination given on the restore command is the one used', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('five times in a row: relative, absolute, pattern, nested new directory, existing image', async () => {
    const first = await person.finish([
      'run',
      '--to',
      'img1',
      '--',
      nodeBinary(24),
      counter,
      '-',
      '-',
      '-',
      '-',
      '-',
      '-',
    ]);
    assert.equal(first.code, 0, first.stderr);
    assert.deepEqual(lines(first.stdout), [1, 2, 3]);
    const destinations: [given: string, directory: string][] = [
      ['./relative', 'relative'],
      [join(person.scratch, 'absolute'), 'absolute'],
      ['./pattern-%g-%%', 'pattern-4-%'],
      ['./new/and/nested', 'new/and/nested'],
      ['./relative', 'relative'],
    ];
    let image = 'img1';
    // A name goes into the store; what contains a slash is a path.
    assert.ok(existsSync(join(person.home, 'images', 'img1', 'manifest.json')));
    let expected = 4;
    for (const [given, directory] of destinations) {
      const { code, stdout, stderr } = await person.finish(['restore', image, '--to', given]);
      assert.equal(code, 0, stderr + stdout);
      assert.deepEqual(lines(stdout), [expected, expected + 1, expected + 2, expected + 3]);
      expected += 4;
      image = join(person.scratch, directory);
      assert.ok(existsSync(join(image, 'manifest.json')), `${given} is at ${image}`);
    }
    const last = await person.finish(['restore', image, '--', 'a', 'b c']);
    assert.match(last.stdout, /args \["a","b c"\]/);
    assert.equal(last.code, 7, 'the exit code is the program’s');
    assert.deepEqual(
      readdirSync(person.scratch).filter((name) => name.includes('.tmp')),
      [],
    );
  });

  test('an impossible destination is an exception in the program, which goes on counting', async () => {
    const { code, stdout } = await person.finish([
      'run',
      '--',
      nodeBinary(20),
      counter,
      '/proc/impossible/img',
    ]);
    assert.match(stdout, /CheckpointException ERR_FORKPOINT_DESTINATION/);
    assert.deepEqual(lines(stdout), [1, 2, 3, 4, 5, 6, 7]);
    assert.equal(code, 7);
  });

  test('a directory that is not an image is refused, and what is in it stays', async () => {
    const directory = join(person.scratch, 'precious');
    mkdirSync(join(directory, 'thesis'), { recursive: true });
    const { stdout } = await person.finish(['run', '--', nodeBinary(24), counter, directory]);
    assert.match(stdout, /CheckpointException ERR_FORKPOINT_DESTINATION/);
    assert.deepEqual(readdirSync(directory), ['thesis']);
  });
});
