// Feeds mutated input to the readers of image files, manifests, plans and packed layers, so many seconds each:
// npm run fuzz -- [--seconds 30] [--seed N]
// Prints the seed and how many files it tried; ends with 1 when something crashed, hung or lost data.
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { dataDirectory } from './setup.mjs';

const here = fileURLToPath(import.meta.url);
const node = join(dirname(here), '../node_modules/node24/bin/node');

// The packages are TypeScript; the workspace's own Node runs them as they are.
if (process.execPath !== node) {
  const { status, error } = spawnSync(node, [here, ...process.argv.slice(2)], { stdio: 'inherit' });
  if (error) throw error;
  process.exit(status ?? 1);
}

const { values } = parseArgs({
  options: { seconds: { type: 'string', default: '30' }, seed: { type: 'string' } },
});
const seconds = Number(values.seconds);
const seed = Number(values.seed ?? Math.floor(Math.random() * 2 ** 32));
if (!(seconds > 0) || !Number.isSafeInteger(seed)) {
  console.error('Usage: npm run fuzz -- [--seconds N] [--seed N]');
  process.exit(2);
}

const { fuzzCodec } = await import('../packages/image/test/fuzz.ts');
const { rewrite } = await import('../packages/rewrite/src/index.ts');
console.log(`seed ${seed}, ${seconds} s`);
try {
  const users = [(source) => rewrite(source, { ctlPath: '/srv/fixture/ctl', clearCapabilities: true })];
  const { runs, refused } = fuzzCodec({ seed, seconds, users });
  console.log(`image codec: ${runs} mutated files, ${refused} of them refused, no crash`);
  const { fuzzTarget, fuzzTargets } = await import('../packages/store/test/fuzz.ts');
  const { nativeDirectory } = await import('../packages/engine/src/index.ts');
  const addon = join(nativeDirectory(dataDirectory()), 'codec.node');
  for (const [name, target] of Object.entries(await fuzzTargets(addon))) {
    // These two are read by parts of the readers of plans and packed files.
    const isPart = name === 'prefetch plan' || name === 'seek table';
    const result = await fuzzTarget(target, { seed, seconds: isPart ? seconds / 6 : seconds });
    console.log(`${name}: ${result.runs} mutated inputs, ${result.refused} of them refused, no crash`);
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
}
