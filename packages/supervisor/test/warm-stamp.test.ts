import assert from 'node:assert/strict';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  unlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { stampOf } from '../src/warm/stamp.ts';

const directory = mkdtempSync(join(tmpdir(), 'fp-warm-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** The clock of a file system goes in steps: waits until it has gone on from the last change of a file. */
function nextTick(path: string): void {
  const before = statSync(path, { bigint: true }).ctimeNs;
  const probe = join(directory, 'probe');
  do writeFileSync(probe, '');
  while (statSync(probe, { bigint: true }).ctimeNs === before);
}

test('is another one after every kind of change, also when size and time of modification are put back', () => {
  const file = join(directory, 'file');
  assert.equal(stampOf('s', file), '-');
  writeFileSync(file, 'one');
  const { atime, mtime } = statSync(file);
  const stamps = new Set([stampOf('s', file)]);
  const changes = [
    () => {
      writeFileSync(file, 'two');
      utimesSync(file, atime, mtime);
    },
    () => chmodSync(file, 0o600),
    () => {
      writeFileSync(`${file}.new`, 'two');
      utimesSync(`${file}.new`, atime, mtime);
      renameSync(`${file}.new`, file);
    },
  ];
  for (const change of changes) {
    nextTick(file);
    change();
    stamps.add(stampOf('s', file));
  }
  assert.equal(stamps.size, changes.length + 1);
});

test('of a directory changes with its names only where these were read; of a link with where it leads', () => {
  const inner = join(directory, 'inner');
  mkdirSync(inner);
  const [looked, listed] = [stampOf('s', inner), stampOf('d', inner)];
  nextTick(inner);
  writeFileSync(join(inner, 'new'), '');
  assert.equal(stampOf('s', inner), looked);
  assert.notEqual(stampOf('d', inner), listed);
  const link = join(directory, 'link');
  symlinkSync('inner', link);
  const [itself, target] = [stampOf('l', link), stampOf('s', link)];
  unlinkSync(link);
  symlinkSync('./inner', link);
  assert.notEqual(stampOf('l', link), itself);
  assert.equal(stampOf('s', link), target);
});
