import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { test } from 'node:test';
import { encodeImage, ImageDirectory, kindOf, summarize } from '@forkpoint/image';
import type { ImageSource } from '@forkpoint/image';
import { link } from '@forkpoint/linker';
import { rewrite } from '@forkpoint/rewrite';

function sourceOf(files: ReadonlyMap<string, Uint8Array>): ImageSource {
  return { names: [...files.keys()], read: (name) => files.get(name) ?? new Uint8Array(0) };
}

/** A recorded image; its pages files have a size but no content. */
function recorded(name: string): Map<string, Uint8Array> {
  const directory = new URL(`../../image/test/fixtures/${name}/`, import.meta.url);
  const pages: Record<string, number> = JSON.parse(readFileSync(new URL('pages.json', directory), 'utf8'));
  return new Map([
    ...readdirSync(directory)
      .filter((file) => file !== 'pages.json')
      .map((file) => [file, new Uint8Array(readFileSync(new URL(file, directory)))] as const),
    ...Object.entries(pages).map(([file, size]) => [file, new Uint8Array(size)] as const),
  ]);
}

/** Checks that what was decoded is what the files hold. */
function assertSame(image: ImageDirectory, files: ReadonlyMap<string, Uint8Array>, what: string): void {
  for (const [name, bytes] of files) {
    const kind = kindOf(name);
    if (kind === 'raw' || kind === 'pagemap') continue;
    assert.deepEqual(
      Buffer.from(encodeImage(image.require(kind, name) as never)),
      Buffer.from(bytes),
      `${name} ${what}`,
    );
  }
}

for (const name of ['zoo', 'node', 'shm']) {
  test(`an image that is decoded once is what its files hold after it was rewritten and linked: ${name}`, () => {
    const files = recorded(name);
    const image = new ImageDirectory(sourceOf(files));
    summarize(image);
    const changed = rewrite(image);
    for (const [file, bytes] of changed.files) files.set(file, bytes);
    for (const file of changed.unused) files.delete(file);
    const rewritten = image.in(sourceOf(files));
    assertSame(rewritten, files, 'after it was rewritten');
    const read = (file: string, offset: number, length: number): Uint8Array =>
      (files.get(file) ?? new Uint8Array(0)).subarray(offset, offset + length);
    const linked = link(rewritten, read, {
      layersPath: '/pod/layers',
      layerName: (pid) => `${pid}.pages`,
      shimName: 'shim.so',
      makesOwnCalls: () => false,
      mayExecute: true,
    });
    for (const [file, bytes] of linked.files) files.set(file, bytes);
    const finished = rewritten.in(sourceOf(files));
    assertSame(finished, files, 'after it was linked');
    assert.deepEqual(summarize(finished), summarize(sourceOf(files)));
  });
}
