import assert from 'node:assert/strict';
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { createPerson, programPath, runToEnd } from '@forkpoint/testkit';
import { fakeImage, idOf } from '../../packages/store/test/fake-image.ts';
import { compilePreload } from './build.ts';

const COUNT = 1000;

test('a store of 1,000 images is listed, drawn as a tree and searched for rubbish with a handful of files opened', async (context) => {
  const person = createPerson();
  try {
    const faults = join(person.scratch, 'faults.so');
    await compilePreload(programPath('c/faults.c'), faults);
    const images = join(person.home, 'images');
    mkdirSync(images, { mode: 0o700 });
    for (let number = 1; number <= COUNT; number++) {
      const parentId = number % 10 === 1 ? null : idOf(number - 1);
      fakeImage(
        images,
        `image-${number}`,
        { id: idOf(number), parentId },
        { 'layers/x.pages': Buffer.alloc(4096) },
      );
    }
    const owned = await runToEnd(['chown', '-R', `${person.uid}`, images]);
    assert.equal(owned.code, 0, owned.stderr);
    // The first one reads all of them and remembers.
    assert.equal(((await person.json(['ls'])) as unknown[]).length, COUNT);
    for (const words of [['ls'], ['tree'], ['gc', '--dry-run'], ['gc', '--dry-run', '--keep', '5']]) {
      const count = join(person.scratch, 'count');
      const counting = {
        FAULT_KIND: 'files',
        FAULT_AT: '1000000',
        FAULT_DIR: `${person.home}/`,
        FAULT_COUNT: count,
      };
      const env = { LD_PRELOAD: faults, ...counting };
      const { code, stderr } = await person.finish(words, { env });
      assert.equal(code, 0, stderr);
      const opened = Number(readFileSync(count, 'utf8'));
      context.diagnostic(`${words.join(' ')}: ${opened} files`);
      assert.ok(opened >= 1 && opened <= 8, `${words.join(' ')} opened ${opened} files`);
    }
  } finally {
    await person.leave();
  }
});
