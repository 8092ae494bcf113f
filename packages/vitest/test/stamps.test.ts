import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, utimesSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { changedOf, stampsOf } from '../src/stamps.ts';

test('a file has changed when it says something else, and not when it was only written again', async () => {
  const directory = mkdtempSync(join(tmpdir(), 'fp-stamps-'));
  try {
    const paths = Array.from({ length: 40 }, (_, i) => join(directory, `${i}.js`));
    for (const path of paths) writeFileSync(path, 'one');
    const stamps = await stampsOf([...paths, join(directory, 'none.js')]);
    assert.equal(stamps.length, 40);
    assert.equal(await changedOf(stamps), undefined);
    const [path = ''] = paths.slice(35);
    utimesSync(path, 1, 1);
    assert.equal(await changedOf(stamps), undefined);
    writeFileSync(path, 'two');
    assert.equal(await changedOf(stamps), path);
    rmSync(path);
    assert.equal(await changedOf(stamps), path);
  } finally {
    rmSync(directory, { recursive: true });
  }
});
