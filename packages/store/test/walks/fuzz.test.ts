import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fuzzTarget, fuzzTargets } from '../fuzz.ts';

test('readers of manifests, plans and packed files refuse mutated input, and neither crash nor hang', async (context) => {
  const seed = Date.now() % 1_000_000;
  context.diagnostic(`seed ${seed}`);
  for (const [name, target] of Object.entries(await fuzzTargets('/no/addon'))) {
    const { runs, refused } = await fuzzTarget(target, { seed, seconds: 1 });
    assert.ok(runs > 5 && refused > 0, `${name}: ${runs} runs, ${refused} refused`);
  }
});
