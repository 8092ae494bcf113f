import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { buildNative, findCompiler } from '../../src/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'forkpoint-native-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const sourceDir = join(directory, 'source');
const outDir = join(directory, 'out');
mkdirSync(join(sourceDir, 'shim'), { recursive: true });
writeFileSync(join(sourceDir, 'part.h'), 'int part(void);\n');
writeFileSync(join(sourceDir, 'part.c'), '#include "part.h"\nint part(void) { return 7; }\n');
writeFileSync(join(sourceDir, 'launcher.c'), '#include "part.h"\nint main(void) { return part(); }\n');
writeFileSync(join(sourceDir, 'shim', 'shim.c'), 'int forkpoint_shim(void) { return 1; }\n');
writeFileSync(join(sourceDir, 'shim', 'ipc.c'), 'int forkpoint_ipc(void) { return 2; }\n');
writeFileSync(join(sourceDir, 'shim', 'record.c'), 'int forkpoint_record(void) { return 4; }\n');
writeFileSync(join(sourceDir, 'shim', 'codec.c'), 'int forkpoint_codec(void) { return 3; }\n');
writeFileSync(join(sourceDir, 'shim', 'trim.c'), 'int forkpoint_trim(void) { return 5; }\n');
writeFileSync(
  join(sourceDir, 'shim', 'reseed.c'),
  'void *napi_register_module_v1(void *e, void *x) { (void)e; return x; }\n',
);

const context = { env: process.env, log: () => undefined, signal: undefined };
let found = 0;
const compiler = async () => {
  found++;
  return await findCompiler(join(directory, 'engine'), 'auto', context);
};

test('the launcher is a static executable of all its files, the others are shared objects', async () => {
  const result = await buildNative({ sourceDir, outDir, compiler });
  assert.deepEqual(result, { isBuilt: true, warnings: '' });
  assert.throws(() => execFileSync(join(outDir, 'launcher')), { status: 7 });
  assert.deepEqual(createRequire(import.meta.url)(join(outDir, 'reseed.node')), {});
  assert.equal(
    execFileSync('/bin/echo', ['ok'], { env: { LD_PRELOAD: join(outDir, 'shim.so') } }).toString(),
    'ok\n',
  );
});

test('a second build does nothing and looks for no compiler', async () => {
  const before = found;
  const { mtimeMs } = statSync(join(outDir, 'launcher'));
  assert.equal((await buildNative({ sourceDir, outDir, compiler })).isBuilt, false);
  assert.equal(found, before);
  assert.equal(statSync(join(outDir, 'launcher')).mtimeMs, mtimeMs);
});

test('a changed header, a missing output and another compiler lead to a build', async () => {
  writeFileSync(join(sourceDir, 'part.h'), 'int part(void); /* changed */\n');
  assert.equal((await buildNative({ sourceDir, outDir, compiler })).isBuilt, true);
  rmSync(join(outDir, 'shim.so'));
  assert.equal((await buildNative({ sourceDir, outDir, compiler })).isBuilt, true);
  assert.equal((await buildNative({ sourceDir, outDir, compiler, compilerId: 'another' })).isBuilt, true);
});

test('a warning does not stop the build and is handed back', async () => {
  writeFileSync(
    join(sourceDir, 'launcher.c'),
    '#include "part.h"\nint main(void) { int unused; return part(); }\n',
  );
  const result = await buildNative({ sourceDir, outDir, compiler });
  assert.match(result.warnings, /unused/);
});

test('an error names the line, keeps the last build and leaves nothing behind', async () => {
  writeFileSync(join(sourceDir, 'launcher.c'), 'int main(void) { return nothing; }\n');
  await assert.rejects(buildNative({ sourceDir, outDir, compiler }), (error: Error & { code?: string }) => {
    assert.equal(error.code, 'ERR_FORKPOINT_BUILD');
    assert.match(error.message, /launcher\.c:1.*nothing/);
    return true;
  });
  assert.deepEqual(readdirSync(outDir).sort(), [
    'codec.node',
    'ipc.so',
    'launcher',
    'native.stamp',
    'record.so',
    'reseed.node',
    'shim.so',
    'trim.node',
  ]);
});

test('a directory without the sources is refused in one line', async () => {
  const empty = buildNative({ sourceDir: join(directory, 'nothing'), outDir, compiler });
  await assert.rejects(empty, { code: 'ERR_FORKPOINT_BUILD' });
});

test('a compiler that does not exist is refused by name', async () => {
  const wrong = findCompiler(join(directory, 'engine'), '/nonexistent/cc', context);
  await assert.rejects(wrong, { code: 'ERR_FORKPOINT_NO_COMPILER' });
});
