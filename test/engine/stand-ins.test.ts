// The libraries that make CRIU start quicker, with the real CRIU.
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { test } from 'node:test';
import { readEngine, withStandIns } from '@forkpoint/engine';
import { runToEnd } from '@forkpoint/testkit';

const { criu, quick, version } = readEngine(dirname(process.env['FORKPOINT_TEST_ENGINE'] ?? ''));
/** A CRIU of the system is started as the system starts it. */
const isOurs = criu.includes('--library-path');

/** What CRIU would call: functions with and without arguments, of both libraries, and a variable. */
const CALLER = `
#include <stdio.h>
extern const char *gnutls_strerror(int error);
extern void (*gnutls_free)(void *);
extern void *nft_ctx_new(unsigned int flags);
extern int nft_ctx_buffer_error(void *nft);
extern int nft_run_cmd_from_buffer(void *nft, const char *command);
extern const char *nft_ctx_get_error_buffer(void *nft);
int main(void) {
  void *nft = nft_ctx_new(0);
  nft_ctx_buffer_error(nft);
  int code = nft_run_cmd_from_buffer(nft, "no command");
  printf("%s %s %d %s", gnutls_strerror(-9), gnutls_strerror(-12), code, nft_ctx_get_error_buffer(nft));
  gnutls_free(NULL);
  return 0;
}
`;

/** Runs a program with CRIU's loader and libraries. */
async function load(command: readonly string[], ...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await runToEnd([...command.slice(0, -1), ...args]);
  assert.equal(code, 0, stderr);
  return stdout;
}

test('CRIU starts with less than half of its libraries', async () => {
  if (!isOurs) return assert.equal(quick, undefined);
  const count = async (command: readonly string[]) =>
    (await load(command, '--list', criu.at(-1) ?? '')).trim().split('\n').length;
  const [all, few] = [await count(criu), await count(quick ?? [])];
  assert.ok(few * 2 < all, `${few} of ${all}`);
});

test('what is called of a library that is left out comes from the real one', async () => {
  if (!isOurs) return assert.equal(quick, undefined);
  const directory = mkdtempSync(join(tmpdir(), 'fp-stand-ins-'));
  try {
    const [source, program] = [join(directory, 'caller.c'), join(directory, 'caller')];
    writeFileSync(source, CALLER);
    const [few = ''] = (quick?.[quick.indexOf('--library-path') + 1] ?? '').split(':');
    const libraries = ['libgnutls.so.30', 'libnftables.so.1'].map((name) => join(few, name));
    const flags = ['-Wl,--allow-shlib-undefined', '-o', program];
    const made = await runToEnd(['cc', source, ...libraries, ...flags]);
    assert.equal(made.code, 0, made.stderr);
    const said = await load(criu, program);
    assert.match(said, /syntax error/);
    assert.equal(await load(quick ?? [], program), said);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
});

test('where the compiler cannot make them CRIU starts as before, and that is tried once', async () => {
  const engineDir = mkdtempSync(join(tmpdir(), 'fp-stand-ins-'));
  try {
    let calls = 0;
    const lines: string[] = [];
    const failing = { id: '', name: '', executable: () => ['false'], sharedObject: () => ['false'] };
    const compiler = async () => await Promise.resolve((calls++, failing));
    const options = { engineDir, criu, version, compiler, log: (line: string) => void lines.push(line) };
    for (let i = 0; i < 2; i++) assert.equal(await withStandIns(options), null);
    assert.equal(calls, isOurs ? 1 : 0);
    assert.equal(lines.length, calls);
    assert.equal(await withStandIns({ ...options, criu: ['/usr/sbin/criu'] }), null);
  } finally {
    rmSync(engineDir, { recursive: true, force: true });
  }
});
