// Random operations on one store and its programs, with kills and full disks among them, on a busy machine:
// npm run soak -- [--seed N] [--seconds S] [--load N] [--list COUNT]
// The same seed gives the same list of operations, which is printed as it goes; --list only prints it. After each step every
// visible image is whole and every living program answers; at the end all images restore and nothing is left. Ends with 1 at
// the first thing that does not hold.
import { spawn, spawnSync } from 'node:child_process';
import { availableParallelism } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { lendEngine, showToOthers } from './lib/share.mjs';
import { setup } from './setup.mjs';

const here = fileURLToPath(import.meta.url);
const node = join(dirname(here), '../node_modules/node24/bin/node');

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: String(Math.floor(Math.random() * 2 ** 31)) },
    seconds: { type: 'string', default: '60' },
    load: { type: 'string', default: String(availableParallelism()) },
    list: { type: 'string' },
    inside: { type: 'boolean' },
  },
});
const [seed, seconds, load] = [Number(values.seed), Number(values.seconds), Number(values.load)];
if (!Number.isSafeInteger(seed) || !(seconds > 0) || !Number.isSafeInteger(load) || load < 0) {
  console.error('Usage: npm run soak -- [--seed N] [--seconds S] [--load N] [--list COUNT]');
  process.exit(2);
}

if (values.list !== undefined && process.execPath === node) await printList(Number(values.list));
else if (!values.inside) await startInside();
else await soak();

/** The workspace's own Node runs TypeScript as it is, and mounts of its own go with the process. */
async function startInside() {
  const isAlone = values.list === undefined && process.env.FORKPOINT_TEST_ENGINE === undefined;
  if (isAlone) {
    await setup({ runtimes: false });
    showToOthers(here);
  }
  const { engine, remove } = isAlone ? lendEngine() : { engine: '', remove: () => undefined };
  const env = { FORKPOINT_TEST_ENGINE: engine, ...process.env };
  const given = ['--seed', String(seed), '--seconds', String(seconds), '--load', String(load)];
  const words = values.list === undefined ? ['--inside', ...given] : [...given, '--list', values.list];
  const own = process.getuid() === 0 ? [] : ['--user', '--map-current-user', '--keep-caps'];
  const prefix = values.list === undefined ? ['unshare', '--mount', ...own, '--'] : [];
  const [command, ...args] = [...prefix, node, here, ...words];
  const { status, error } = spawnSync(command, args, { stdio: 'inherit', env });
  remove();
  if (error) throw error;
  process.exitCode = status ?? 1;
}

async function printList(count) {
  const { drawSteps, tell } = await import('../test/engine/soak-draw.ts');
  let number = 0;
  for (const step of drawSteps(seed)) {
    if (++number > count) return;
    console.log(`${number} ${step.map(tell).join(' | ')}`);
  }
}

/** Programs that do nothing but keep processors busy; they end with this one. */
function burners() {
  const words = ['-n', '1', 'setpriv', '--pdeathsig', 'KILL', 'sh', '-c', 'while :; do :; done'];
  return Array.from({ length: load }, () => spawn('nice', words, { stdio: 'ignore' }));
}

function mountSmall(directory, uid) {
  const options = ['-o', `size=40m,mode=700,uid=${uid},gid=${uid}`];
  const { status, stderr } = spawnSync('mount', ['-t', 'tmpfs', ...options, 'none', directory], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`a small file system cannot be mounted: ${stderr}`);
}

async function soak() {
  const { drawSteps, tell } = await import('../test/engine/soak-draw.ts');
  const { World } = await import('../test/engine/soak-world.ts');
  const { checkEnd, checkStep, restoreAll } = await import('../test/engine/soak-check.ts');
  console.log(`seed ${seed}, ${seconds} s`);
  const world = new World(mountSmall);
  const busy = burners();
  const verified = new Map();
  const until = Date.now() + seconds * 1000;
  let number = 0;
  try {
    for (const step of drawSteps(seed)) {
      if (Date.now() > until) break;
      console.log(`${++number} ${step.map(tell).join(' | ')}`);
      await world.carryOut(step);
      await checkStep(world, verified);
    }
    const images = await restoreAll(world);
    await checkEnd(world);
    const { done, refused, struck } = world.counts;
    console.log(
      `${number} steps: ${done} operations done, ${refused} refused, ${struck} struck; ${images} images restored, nothing left`,
    );
  } catch (error) {
    console.error(error);
    console.error(`Again: npm run soak -- --seed ${seed} --seconds ${seconds} (step ${number})`);
    process.exitCode = 1;
  } finally {
    for (const burner of busy) burner.kill('SIGKILL');
    for (const run of world.runs.values()) await world.end(run).catch(() => undefined);
    spawnSync('umount', ['--lazy', world.small]);
    await world.person.leave();
  }
}
