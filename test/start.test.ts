import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { build } from 'esbuild';

const root = fileURLToPath(new URL('..', import.meta.url));

/** Returns the source files that run when a bundle starts: those that imports lead to, but for late ones. */
async function startOf(entry: string): Promise<string[]> {
  const { metafile } = await build({
    absWorkingDir: root,
    entryPoints: [entry],
    bundle: true,
    write: false,
    metafile: true,
    platform: 'node',
    format: 'cjs',
    outdir: 'unused',
    logLevel: 'error',
  });
  const reached = new Set([entry]);
  for (const path of reached) {
    for (const next of metafile.inputs[path]?.imports ?? [])
      if (next.kind !== 'dynamic-import' && next.path in metafile.inputs) reached.add(next.path);
  }
  return [...reached];
}

test('a command does not pay for the codec of CRIU’s images before it needs it', async () => {
  const files = await startOf('packages/cli/src/main.ts');
  assert.ok(files.includes('packages/store/src/index.ts'));
  assert.deepEqual(
    files.filter((path) => /^packages\/(image|linker|rewrite)\/|@bufbuild/.test(path)),
    [],
  );
});
