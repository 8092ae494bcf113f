import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { doctor } from '../src/index.ts';
import { surroundings } from '../src/doctor-kernel.ts';
import { parseProbe } from '../src/doctor.ts';

const directory = mkdtempSync(join(tmpdir(), 'forkpoint-doctor-'));
after(() => rmSync(directory, { recursive: true, force: true }));

test('every row that is not well says what to do, in one line', async () => {
  const rows = await doctor({ home: join(directory, 'none'), nativeDir: join(directory, 'none') });
  assert.ok(rows.length > 12);
  assert.equal(new Set(rows.map(({ name }) => name)).size, rows.length);
  for (const row of rows) {
    assert.ok(row.detail !== '' && !row.detail.includes('\n'), row.name);
    if (row.ok) assert.equal(row.hint, undefined, row.name);
    else assert.match(row.hint ?? '', /^[^\n]{4,}$/, row.name);
  }
  for (const name of ['criu', 'criu check', 'launcher', 'preload']) {
    assert.equal(rows.find((row) => row.name === name)?.ok, false, name);
  }
  for (const name of ['node', 'data directory', 'privacy']) {
    assert.equal(rows.find((row) => row.name === name)?.ok, true, name);
  }
});

test('a data directory that others may write to is reported, and looking leaves nothing there', async () => {
  const home = join(directory, 'open');
  mkdirSync(home);
  chmodSync(home, 0o777);
  const rows = await doctor({ home, nativeDir: home });
  assert.equal(rows.find((row) => row.name === 'privacy')?.ok, false);
  assert.deepEqual(readdirSync(home), []);
});

test('a preload that cannot be loaded is reported although programs start with it', async () => {
  const native = join(directory, 'native');
  mkdirSync(native);
  for (const name of ['shim.so', 'reseed.node', 'launcher'])
    writeFileSync(join(native, name), 'no ELF', { mode: 0o755 });
  const rows = await doctor({ home: directory, nativeDir: native });
  assert.equal(rows.find((row) => row.name === 'preload')?.ok, false);
  assert.equal(rows.find((row) => row.name === 'launcher')?.ok, false);
});

test('the answers of `launcher probe` become rows', () => {
  const rows = parseProbe('userns ok\npidfd_getfd Operation not permitted\nrubbish\n\u0000 x\n');
  assert.deepEqual(
    rows.map(({ name, ok, detail }) => ({ name, ok, detail })),
    [
      { name: 'pod: userns', ok: true, detail: 'ok' },
      { name: 'pod: pidfd getfd', ok: false, detail: 'Operation not permitted' },
    ],
  );
  assert.match(rows[1]?.hint ?? '', /pidfd_getfd/);
});

test('containers and services are recognised, with what each of them needs', () => {
  const told = (files: readonly string[], env: Record<string, string> = {}): string =>
    surroundings((path) => files.includes(path), env).detail;
  assert.match(told(['/run/.containerenv', '/.dockerenv']), /^podman; .*seccomp=unconfined .*unmask=ALL$/);
  assert.match(told(['/.dockerenv']), /^Docker; .*seccomp=unconfined .*systempaths=unconfined$/);
  assert.match(told(['/.dockerenv'], { GITHUB_ACTIONS: 'true' }), /^Docker; .*; GitHub Actions; /);
  assert.match(told([], { INVOCATION_ID: '1' }), /^a service of systemd; /);
  assert.equal(told([]), 'no container that can be recognised');
});
