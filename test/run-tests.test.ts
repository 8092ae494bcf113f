import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { longestFirst } from '../scripts/lib/test-order.mjs';

const script = fileURLToPath(new URL('../scripts/lib/run-tests.mjs', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'fp-run-tests-'));
after(() => rmSync(directory, { recursive: true, force: true }));

/** Runs test files of the given texts, and returns how that ended and what the report says. */
function runFiles(files: Record<string, string>): { status: number | null; report: string } {
  for (const [name, text] of Object.entries(files))
    writeFileSync(join(directory, name), `import { test } from 'node:test';\n${text}`);
  const report = join(directory, 'report.tap');
  const { status } = spawnSync(
    process.execPath,
    ['--test-timeout=300', script, '2', report, ...Object.keys(files)],
    { cwd: directory, env: { ...process.env, NODE_TEST_CONTEXT: undefined }, timeout: 60_000 },
  );
  return { status, report: readFileSync(report, 'utf8') };
}

test('files that pass end with exit code 0, and the report counts their tests', () => {
  const { status, report } = runFiles({ 'a.mjs': "test('a', () => {});", 'b.mjs': "test('b', () => {});" });
  assert.equal(status, 0);
  assert.match(report, /^# pass 2$/m);
});

test('a test that fails, and one that takes too long, are in the report, and the exit code tells', () => {
  const { status, report } = runFiles({
    'a.mjs': "test('a', () => { throw new Error('no'); });",
    'b.mjs': "test('b', async () => { await new Promise((resolve) => setTimeout(resolve, 900)); });",
  });
  assert.equal(status, 1);
  assert.match(report, /not ok \d+ - a$/m);
  assert.match(report, /not ok \d+ - b$/m);
  assert.match(report, /^# pass 0$/m);
});

test('the longest files are begun first, the others by name', () => {
  const files = ['test/engine/a.test.ts', 'test/engine/store.test.ts', 'test/engine/bench.test.ts'];
  assert.deepEqual(longestFirst(files), [
    'test/engine/bench.test.ts',
    'test/engine/store.test.ts',
    'test/engine/a.test.ts',
  ]);
});
