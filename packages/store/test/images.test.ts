import assert from 'node:assert/strict';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { isImage, readManifest, resolveImage } from '../src/index.ts';
import { temporaryDirectory } from './fake-run.ts';

test('an argument is a path when it contains a slash or starts with a dot, else a name', () => {
  const of = (argument: string): string => resolveImage(argument, '/cwd', '/images');
  assert.equal(of('server'), '/images/server');
  assert.equal(of('./server'), '/cwd/server');
  assert.equal(of('a/b/../c'), '/cwd/a/c');
  assert.equal(of('/a/'), '/a');
  assert.equal(of('.'), '/cwd');
  assert.equal(of('.hidden'), '/cwd/.hidden');
  assert.throws(() => of('a b'), { code: 'ERR_FORKPOINT_NAME' });
});

test('what is no image is told apart', async (t) => {
  const root = await temporaryDirectory(t);
  await mkdir(join(root, 'empty'));
  await mkdir(join(root, 'foreign'));
  await writeFile(join(root, 'foreign', 'x'), '');
  await mkdir(join(root, 'torn'));
  await writeFile(join(root, 'torn', 'manifest.json'), '{"formatVersion":1,');
  await writeFile(join(root, 'file'), '');
  const message = async (name: string): Promise<string> =>
    await readManifest(join(root, name)).then(String, (error: Error) => error.message);
  assert.match(await message('emtpy'), /there is no image at/);
  assert.match(await message('empty'), /the directory is empty/);
  assert.match(await message('foreign'), /it has no manifest.json/);
  assert.match(await message('torn'), /not complete JSON/);
  assert.match(await message('file'), /it has no manifest.json/);
  await assert.rejects(readManifest(join(root, 'emtpy')), { hint: 'Did you mean `empty`?' });
  assert.equal(await isImage(join(root, 'torn')), false);
});
