// Whether clones draw anything alike. Usage: npm run uniqueness -- [--clones 1000] [--node 24]
// Restores so many clones of one image whose caches and pools are all filled, compares what they draw, and does the same with 20 that
// were told not to renew their randomness, which have to be alike.
import { spawnSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { dirname, join } from 'node:path';
import { parseArgs } from 'node:util';
import { lendEngine, showToOthers } from './lib/share.mjs';
import { setup } from './setup.mjs';

const here = fileURLToPath(import.meta.url);
const node = join(dirname(here), '../node_modules/node24/bin/node');
/** Clones of the control. */
const CONTROL = 20;

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
  options: { clones: { type: 'string', default: '1000' }, node: { type: 'string', default: '24' } },
});
const { createPerson } = await import('../packages/testkit/src/index.ts');
const { drawClones, repeatsOf, startNameServer, SYSTEM_DRAWN, takeDrawing } =
  await import('../test/engine/draws-of-clones.ts');
const person = createPerson();
const names = await startNameServer();
try {
  await takeDrawing(person, Number(values.node), './image', names.address);
  const began = performance.now();
  const draws = await drawClones(person, './image', Number(values.clones));
  const seconds = ((performance.now() - began) / 1000).toFixed(0);
  const repeats = repeatsOf(draws);
  const control = repeatsOf(await drawClones(person, './image', CONTROL, ['--no-reseed']));
  for (const [kind, count] of Object.entries(repeats))
    console.log(
      `${kind.padEnd(18)}${String(count).padStart(5)} repeated; without renewal ${control[kind]} of ${CONTROL - 1}`,
    );
  const found = Object.keys(repeats).filter((kind) => repeats[kind] > 0);
  const unseen = Object.keys(control).filter((kind) => control[kind] === 0 && !SYSTEM_DRAWN.includes(kind));
  console.log(
    `${draws.length} clones on Node ${values.node} in ${seconds} s: ${found.length} kinds with duplicates`,
  );
  if (unseen.length > 0) console.log(`not alike without renewal, so not tested: ${unseen.join(', ')}`);
  process.exitCode = found.length + unseen.length > 0 ? 1 : 0;
} finally {
  await names.stop();
  await person.leave();
}
