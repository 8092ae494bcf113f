import assert from 'node:assert/strict';
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const page = readFileSync(join(root, 'SPECIFICATION.md'), 'utf8');

/** Returns a pattern for each name of a test in a source file; `${...}` in a name stands for any text. */
function namesIn(source: string): RegExp[] {
  return [
    ...source.matchAll(/\b(?:test|it)\(\s*(?:'((?:\\.|[^'\\])*)'|"((?:\\.|[^"\\])*)"|`((?:\\.|[^`\\])*)`)/g),
  ].map((match) => {
    const name = (match[1] ?? match[2] ?? match[3] ?? '').replaceAll(/\\(.)/g, '$1');
    const parts = name.split(/\$\{[^}]*\}/).map((part) => part.replaceAll(/[.*+?^${}()|[\]\\]/g, '\\$&'));
    return new RegExp(`^${parts.join('.+')}$`);
  });
}

test('every test that SPECIFICATION.md names exists', () => {
  const named = [...page.matchAll(/^- (\S+\.test\.ts): (.+)$/gm)];
  assert.ok(named.length > 50, 'the page has another form than this test reads');
  const missing = named.filter(([, file = '', name = '']) => {
    const path = join(root, file);
    return !existsSync(path) || !namesIn(readFileSync(path, 'utf8')).some((pattern) => pattern.test(name));
  });
  assert.deepEqual(
    missing.map(([line]) => line),
    [],
  );
});

test('every promise has a number of its own and at least one test', () => {
  const promises = page.split(/^(?=\*\*\d+\. )/m).slice(1);
  for (const [index, promise] of promises.entries()) {
    assert.ok(promise.startsWith(`**${index + 1}. `), promise.slice(0, 60));
    assert.match(promise, /^- \S+\.test\.ts: /m);
  }
});
