import assert from 'node:assert/strict';
import { chmodSync } from 'node:fs';
import { join } from 'node:path';
import { build } from 'esbuild';
import { findCompiler } from '@forkpoint/engine';
import { root, runToEnd } from '@forkpoint/testkit';

/** Bundles a program of test/engine that is started a hundred times. */
export async function bundle(name: string, outfile: string): Promise<void> {
  const banner =
    "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
  await build({
    entryPoints: [join(root, 'test/engine', name)],
    outfile,
    bundle: true,
    platform: 'node',
    format: 'esm',
    banner: { js: banner },
    logLevel: 'silent',
  });
  chmodSync(outfile, 0o644);
}

const options = { env: process.env, log: () => undefined, signal: undefined };

/** Compiles a program that can be preloaded into. */
export async function compileDynamic(source: string, file: string): Promise<void> {
  const dynamic = await runToEnd(['cc', '-std=gnu11', '-O1', '-o', file, source]).catch(() => null);
  if (dynamic?.code !== 0) {
    const compiler = await findCompiler(process.env['FORKPOINT_TEST_ENGINE'] ?? '', 'auto', options);
    const built = await runToEnd(compiler.executable([source], file, false));
    assert.equal(built.code, 0, built.stderr);
  }
  chmodSync(file, 0o755);
}

/** Compiles what is preloaded into others. */
export async function compilePreload(source: string, file: string): Promise<void> {
  const compiler = await findCompiler(process.env['FORKPOINT_TEST_ENGINE'] ?? '', 'auto', options);
  const built = await runToEnd(compiler.sharedObject(source, file, false));
  assert.equal(built.code, 0, built.stderr);
  chmodSync(file, 0o755);
}
