// Kills the checkpoint worker at random moments while CRIU has the program in its hands: npm run deaths -- [--rounds 60]
// [--megabytes 220] [--window MS]. After each the program has to answer, with the memory that it had. Prints the numbers;
// ends with 1 when a program did not survive.
import { spawnSync } from 'node:child_process';
import {
  closeSync,
  constants,
  cpSync,
  existsSync,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { parseArgs } from 'node:util';
import { dataDirectory, setup } from './setup.mjs';

const here = fileURLToPath(import.meta.url);
const node = join(dirname(here), '../node_modules/node24/bin/node');
const LIMIT_MS = 60_000;

// The packages are TypeScript; the workspace's own Node runs them as they are.
if (process.execPath !== node) {
  await setup({ runtimes: false });
  const lent = mkdtempSync(join(tmpdir(), 'fp-engine-'));
  const [engine, copy] = [join(dataDirectory(), 'engine'), join(lent, 'engine')];
  // An ordinary user runs the program, and cannot read what is root's.
  cpSync(engine, copy, { recursive: true, verbatimSymlinks: true });
  const plan = join(copy, 'engine.plan');
  writeFileSync(plan, readFileSync(plan, 'latin1').replaceAll(engine, copy), 'latin1');
  spawnSync('chmod', ['-R', 'a+rX', lent]);
  const env = { ...process.env, FORKPOINT_TEST_ENGINE: copy };
  const { status, error } = spawnSync(node, [here, ...process.argv.slice(2)], { stdio: 'inherit', env });
  rmSync(lent, { recursive: true, force: true });
  if (error) throw error;
  process.exit(status ?? 1);
}

const { values } = parseArgs({
  options: {
    rounds: { type: 'string', default: '60' },
    megabytes: { type: 'string', default: '220' },
    // CRIU puts code into the program in the first tens of milliseconds; that is when its death would harm.
    window: { type: 'string', default: '60' },
  },
});
const { createPerson, eventually, nodeBinary, programPath } = await import('@forkpoint/testkit');
const { childrenOf, detach, isAlive, launcherOf, logged, logOf } = await import('../test/engine/pods.ts');

/** Looks without a pause, because what is looked for lasts milliseconds. */
function spin(look, until) {
  for (;;) {
    const found = look();
    if (found !== undefined || performance.now() > until) return found;
  }
}

function processIn(run, pattern) {
  return childrenOf(run.launcher).find((pid) => {
    try {
      return pattern.test(readFileSync(`/proc/${pid}/cmdline`, 'latin1').replaceAll('\0', ' '));
    } catch {
      // It has ended in between.
      return false;
    }
  });
}

async function start(person) {
  const id = await detach(person, [nodeBinary(24), programPath('pulse.mjs'), 'big', values.megabytes]);
  await logged(person, id, /^up$/m);
  const run = { id, launcher: launcherOf(person, id) };
  return { ...run, digest: await beat(person, run) };
}

/** Asks the program for a sign of life and returns the digest of its memory. */
async function beat(person, run) {
  const before = [...logOf(person, run.id).matchAll(/^beat /gm)].length;
  const program = processIn(run, /pulse\.mjs/);
  if (program === undefined) throw new Error('the program has gone');
  process.kill(program, 'SIGUSR1');
  return await eventually(
    () => [...logOf(person, run.id).matchAll(/^beat \d+ ([0-9a-f]+)$/gm)][before]?.[1],
    'its answer',
  );
}

/** Asks for a checkpoint and kills its worker at a random moment of the dump; returns what was answered and when it died. */
async function killWorker(person, run, round) {
  const ask = `round${round}`;
  const line = {
    v: 1,
    op: 'checkpoint',
    pid: 0,
    ask,
    to: './image',
    cwd: person.scratch,
    timeoutMs: LIMIT_MS,
  };
  const directory = join(person.home, 'runs', run.id);
  const fifo = openSync(join(directory, 'ctl/request'), constants.O_WRONLY | constants.O_NONBLOCK);
  writeSync(fifo, `${JSON.stringify(line)}\n`);
  closeSync(fifo);
  const criu = spin(() => processIn(run, / dump /), performance.now() + LIMIT_MS);
  const after = Math.random() * Number(values.window);
  spin(() => undefined, performance.now() + after);
  const worker = processIn(run, /worker\.cjs/);
  if (worker !== undefined) process.kill(worker, 'SIGKILL');
  const result = join(directory, 'results', `${ask}.json`);
  const inTime = criu !== undefined && existsSync(`/proc/${criu}`);
  const read = () => (existsSync(result) ? JSON.parse(readFileSync(result, 'utf8')).outcome : undefined);
  const outcome = await eventually(
    () => read() ?? (isAlive(run.launcher) ? undefined : 'none'),
    'an answer',
    LIMIT_MS,
  );
  return { outcome, after, inTime };
}

const person = createPerson();
const count = { rounds: 0, inTime: 0, done: 0, broken: 0 };
try {
  let run = await start(person);
  while (count.rounds < Number(values.rounds)) {
    const { outcome, after, inTime } = await killWorker(person, run, ++count.rounds);
    if (inTime) count.inTime++;
    if (outcome === 'done') count.done++;
    try {
      if ((await beat(person, run)) !== run.digest) throw new Error('its memory has changed');
    } catch (error) {
      count.broken++;
      console.log(
        `round ${count.rounds}: worker killed ${after.toFixed(1)} ms after CRIU was seen: ${error.message}`,
      );
      if (isAlive(run.launcher)) process.kill(run.launcher, 'SIGKILL');
      run = await start(person);
    }
  }
} finally {
  await person.leave();
}
console.log(
  `${count.rounds} workers killed, ${count.inTime} of them while CRIU ran, ${count.done} too late; programs that did not survive: ${count.broken}`,
);
process.exitCode = count.broken === 0 ? 0 : 1;
