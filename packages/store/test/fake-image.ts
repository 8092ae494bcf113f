import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { encodeRestorePlan, restorePlanOf, serializeManifest } from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import { sample } from '../../manifest/test/sample.ts';

/** Writes an image as far as the store looks at it: manifest, plan, one part and the layers that `pages` names. Returns its path. */
export function fakeImage(
  directory: string,
  name: string,
  facts: Partial<Manifest> = {},
  pages: Readonly<Record<string, Uint8Array>> = {},
): string {
  const path = join(directory, name);
  mkdirSync(join(path, 'layers'), { recursive: true, mode: 0o700 });
  writeFileSync(join(path, 'pstree.img'), `pstree of ${name}`);
  for (const [file, bytes] of Object.entries(pages)) writeFileSync(join(path, file), bytes, { mode: 0o600 });
  const layers = Object.entries(pages).map(([file, bytes]) => ({
    file,
    size: bytes.length,
    pages: Math.ceil(bytes.length / 4096),
    compression: null,
    storedSize: bytes.length,
    sha256: null,
  }));
  const manifest: Manifest = { ...sample, layers, files: [], ...facts };
  writeFileSync(join(path, 'manifest.json'), serializeManifest(manifest));
  const plan = restorePlanOf(manifest, {
    pidBase: 6000,
    locks: [],
    parts: [{ name: 'pstree.img', size: `pstree of ${name}`.length }],
    blocked: [],
    reads: [],
    terminal: null,
    hasIpcObjects: false,
    criu: [],
  });
  writeFileSync(join(path, 'restore.plan'), encodeRestorePlan(plan));
  writeFileSync(join(path, 'restore'), '#!/bin/sh\n', { mode: 0o700 });
  return path;
}

/** Returns an image id from a number. */
export function idOf(number: number): string {
  return number.toString(16).padStart(12, '0');
}
