import assert from 'node:assert/strict';
import { join } from 'node:path';
import test from 'node:test';
import { root, runToEnd } from '@forkpoint/testkit';
import { drawSteps, tell } from './soak-draw.ts';

/** Returns the first steps of a seed in words. */
function listOf(seed: number, count: number): string[] {
  const list: string[] = [];
  for (const step of drawSteps(seed)) {
    if (list.length === count) break;
    list.push(step.map(tell).join(' | '));
  }
  return list;
}

test('a seed gives the same operations each time, and another one others, of every kind', () => {
  const list = listOf(7, 400);
  assert.deepEqual(listOf(7, 400), list);
  assert.notDeepEqual(listOf(8, 400), list);
  const text = list.join('\n');
  for (const word of [
    'run',
    'checkpoint',
    'restore',
    'fork',
    'flatten',
    'compress',
    'decompress',
    'rm',
    'gc',
    'end',
  ])
    assert.match(text, new RegExp(`^(.* \\| )?${word}\\b`, 'm'));
  for (const victim of ['command', 'worker', 'launcher', 'criu'])
    assert.match(text, new RegExp(`, ${victim} killed after \\d+ ms`));
  assert.match(text, /with \d+ kB free/);
});

test('random operations with kills and a full disk: every image is whole, programs answer, and nothing is left', async (context) => {
  const script = join(root, 'scripts/soak.mjs');
  const seed = Date.now() % 1_000_000;
  const words = ['--seed', String(seed), '--seconds', '7', '--load', '0'];
  const { code, stdout, stderr } = await runToEnd([process.execPath, script, ...words], {
    timeoutMs: 300_000,
  });
  assert.equal(code, 0, stdout + stderr);
  const [told = ''] = /^\d+ steps: .*/m.exec(stdout) ?? [];
  context.diagnostic(`seed ${seed}: ${told}`);
  assert.match(told, /^\d+ steps: [1-9]\d* operations done, .*nothing left$/);
});
