// Lets every file operation of every command on a store fail, of linking, flattening and checkpoints, and kills whoever takes part at
// each of them: npm run faults -- [--operation NAME]; a name of store-walk.ts, or chains, link-faults, dump-faults, fork-faults, kills. Of dump-faults and
// fork-faults --part CALLER[,FAULT[,FROM]] (repeatable) walks only that part: criu, worker or launcher, a fault of dump-faults.test.ts or a
// victim of fork-walk.ts, and the operation to begin with.
// Prints how many points there are; ends with 1 at the first after which an image is damaged or something is left behind.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
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

/** Files of test/engine that walk, and the names of the tests in which they do. */
const ANY_STEP = 'operation on the store|at any step of';
const WALKS = {
  'link-faults': ANY_STEP,
  chains: ANY_STEP,
  kills: 'whoever is killed',
  'fork-faults': ANY_STEP,
  'dump-faults': ANY_STEP,
};

const { values } = parseArgs({
  options: { operation: { type: 'string' }, part: { type: 'string', multiple: true, default: [] } },
});
const { compileFaults, killedAt, stepsOf } = await import('../test/engine/store-faults.ts');
const { OPERATIONS } = await import('../test/engine/store-walk.ts');
const known = [...Object.keys(OPERATIONS), ...Object.keys(WALKS)];
if (values.operation !== undefined && !known.includes(values.operation)) {
  console.error(`There is no operation ${values.operation}. There are: ${known.join(', ')}`);
  process.exit(2);
}
const directory = mkdtempSync(join(tmpdir(), 'fp-faults-'));
let points = 0;
try {
  const faults = await compileFaults(directory);
  for (const operation of Object.keys(OPERATIONS)) {
    if (values.operation !== undefined && values.operation !== operation) continue;
    for (const kind of ['space', 'io', 'files', 'kill']) {
      let steps = 0;
      if (kind === 'kill') while (await killedAt(faults, operation, steps + 1)) steps++;
      else ({ steps } = await stepsOf(faults, operation, kind));
      points += steps;
      console.log(`${operation}, ${kind}: ${steps} points`);
    }
  }
  if (points > 0) console.log(`${points} points: every image whole, nothing left behind`);
  for (const [name, pattern] of Object.entries(WALKS)) {
    if (values.operation !== undefined && values.operation !== name) continue;
    const file = join(dirname(here), `../test/engine/${name}.test.ts`);
    const env = { ...process.env, FORKPOINT_FAULTS: 'all', FORKPOINT_FAULT_PARTS: values.part.join(' ') };
    const { status } = spawnSync(node, ['--test', '--test-name-pattern', pattern, file], {
      stdio: 'inherit',
      env,
    });
    if (status !== 0) process.exitCode = 1;
  }
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  rmSync(directory, { recursive: true, force: true });
}
