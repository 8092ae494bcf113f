// What everybody who takes part holds after many forks of one program. Usage: npm run forks -- [--count 3000] [--every 300]
import { spawnSync } from 'node:child_process';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { lendEngine, showToOthers } from './lib/share.mjs';
import { setup } from './setup.mjs';

const here = fileURLToPath(import.meta.url);
const node = join(dirname(here), '../node_modules/node24/bin/node');

// The packages are TypeScript; the workspace's own Node runs them as they are.
if (process.execPath !== node) {
  await setup({ runtimes: false });
  showToOthers(here);
  const { engine, remove } = lendEngine();
  const env = { ...process.env, FORKPOINT_TEST_ENGINE: engine };
  const { status, error } = spawnSync(node, [here, ...process.argv.slice(2)], { stdio: 'inherit', env });
  remove();
  if (error) throw error;
  process.exit(status ?? 1);
}

const { values } = parseArgs({
  options: { count: { type: 'string', default: '3000' }, every: { type: 'string', default: '300' } },
});
const { createPerson } = await import('../packages/testkit/src/index.ts');
const { forkMany, growthOf } = await import('../test/engine/many-forks.ts');
const person = createPerson();
const began = performance.now();
try {
  const looks = await forkMany(person, [Number(values.count), Number(values.every)], (held) => {
    console.log(`${((performance.now() - began) / 1000).toFixed(0)} s ${JSON.stringify(held)}`);
  });
  const growth = growthOf(looks);
  console.log(growth.length === 0 ? 'nothing grows' : `grows: ${growth.join('; ')}`);
  process.exitCode = growth.length === 0 ? 0 : 1;
} finally {
  await person.leave();
}
