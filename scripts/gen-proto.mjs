// Generates packages/image/src/gen from packages/image/proto. Run it after changing a .proto file:
//
//   node scripts/gen-proto.mjs
//
// The tools are pinned here and fetched by npx into npm's cache, because nobody else needs them: the result is committed.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lazy } from './lib/lazy-proto.mjs';

const root = join(dirname(fileURLToPath(import.meta.url)), '..');
const proto = join(root, 'packages/image/proto');
const out = join(root, 'packages/image/src/gen');
const packages = ['@bufbuild/buf@1.75.0', '@bufbuild/protoc-gen-es@2.17.0', '@bufbuild/protobuf@2.17.0'];

const work = mkdtempSync(join(tmpdir(), 'forkpoint-proto-'));
try {
  writeFileSync(join(work, 'buf.yaml'), 'version: v2\n');
  const template = {
    version: 'v2',
    inputs: [{ directory: proto }],
    plugins: [
      { local: 'protoc-gen-es', out, opt: ['target=ts', 'import_extension=ts', 'erasable_syntax=true'] },
    ],
  };
  writeFileSync(join(work, 'buf.gen.yaml'), JSON.stringify(template));
  rmSync(out, { recursive: true, force: true });
  const command = ['--yes', ...packages.map((name) => `--package=${name}`), '--', 'buf', 'generate'];
  const { status, error } = spawnSync('npx', command, { cwd: work, stdio: 'inherit' });
  if (error) throw error;
  for (const name of status === 0 ? readdirSync(out) : [])
    writeFileSync(join(out, name), lazy(readFileSync(join(out, name), 'utf8')));
  // What the codec goes by; Node 24 reads TypeScript.
  if (status === 0) {
    const node = join(root, 'node_modules/node24/bin/node');
    spawnSync(node, [join(root, 'scripts/lib/proto-tables.ts')], { stdio: 'inherit' });
  }
  process.exitCode = status ?? 1;
} finally {
  rmSync(work, { recursive: true, force: true });
}
