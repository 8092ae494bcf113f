// forkpoint serve beside node:cluster, with the same application: `npm run bench -- serve`.
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { interleave } from './driver.mjs';
import { forkpoint, freePort, launch, machine, root, run, watch } from './processes.mjs';
import { measureServeLoad } from './serve-load.mjs';
import { cpuOf, isWorker, page, pssOf, tree } from './serve-processes.mjs';

const program = join(root, 'bench/programs/serve-app.cjs');
const node = join(root, 'node_modules/node24/bin/node');
/** Longest wait for a server's reforks. */
const WARM_MS = 120_000;
/** Requests after which a worker's first ones are over. */
export const FIRST = 20;
const SIZES = {
  smoke: {
    workers: 2,
    files: 20,
    rounds: 1,
    requests: [1, 20],
    settleMs: 200,
    replacements: 1,
    steady: 100,
    seconds: 2,
  },
  quick: {
    workers: 8,
    rounds: 3,
    requests: [1, 100, 1000],
    settleMs: 3000,
    replacements: 5,
    steady: 4000,
    seconds: 20,
  },
  full: {
    workers: 8,
    rounds: 5,
    requests: [1, 10, 100, 1000],
    settleMs: 3000,
    replacements: 20,
    steady: 10_000,
    seconds: 60,
  },
};

/** What is measured, each by itself. */
const PARTS = {
  starts: measureStarts,
  memory: measureMemory,
  steady: measureSteady,
  load: async (bench) =>
    await measureServeLoad(bench, async (work) => await withServer(bench, 'refork', work)),
};

/**
 * Runs the benchmark in a data directory in which set-up has been done; all parts of it unless some are named.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', part?: string, progress?: (text: string) => void }} options
 */
export async function benchServe({ home, size = 'quick', part, progress = () => undefined }) {
  const parts = part?.split(',') ?? Object.keys(PARTS);
  const unknown = parts.find((name) => !Object.hasOwn(PARTS, name));
  if (unknown !== undefined)
    throw new Error(`there is no part ${unknown}; there are ${Object.keys(PARTS).join(', ')}`);
  const scratch = mkdtempSync(join(home, 'bench-'));
  const { files } = SIZES[size];
  const env = {
    ...process.env,
    FORKPOINT_HOME: home,
    FORKPOINT_NODE: process.execPath,
    ...(files === undefined ? {} : { FILES: String(files) }),
  };
  const bench = { home, env, scratch, size: SIZES[size], progress, image: join(scratch, 'image') };
  try {
    progress('an image of the warm program');
    await takeImage(bench);
    const result = { size: bench.size, machine: machine() };
    for (const name of parts) result[name] = await PARTS[name](bench);
    return result;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

async function takeImage({ env, image }) {
  const port = await freePort();
  const name = `bench-${process.pid}`;
  const warm = { ...env, PORT: String(port) };
  const running = watch(launch([forkpoint, 'run', '--name', name, '--', node, program], warm));
  for (let at = 0; at < 100; at++) await page(port, at).catch(async () => await pause(50));
  running.tell();
  run(forkpoint, ['checkpoint', name, image, '--stop'], env);
  await running.ended;
}

/** The ways to serve. */
const ARMS = {
  cluster: ({ env, size }) => [[node, program], { ...env, CLUSTER: String(size.workers) }],
  cold: (bench) => served(bench, ['--refork', 'off'], ['--', node, program]),
  image: (bench) => served(bench, ['--refork', 'off', '--from', bench.image], []),
  refork: (bench) =>
    served(bench, ['--refork', thresholds(bench.size, 'refork').join()], ['--', node, program]),
  // Reforks come to an end, so that there is a steady state.
  steady: (bench) =>
    served(bench, ['--refork', thresholds(bench.size, 'steady').join()], ['--', node, program]),
};

/** Requests at which a server reforks. */
function thresholds({ workers }, arm) {
  if (workers <= 2) return arm === 'steady' ? [10, 20] : [10];
  return arm === 'steady' ? [50, 150] : [50, 100, 500];
}

function served({ env, size }, options, command) {
  return [[forkpoint, 'serve', '--no-keep', '--workers', String(size.workers), ...options, ...command], env];
}

/** Has a server with all workers ready, and ends it. */
export async function withServer(bench, arm, work) {
  // The image listens where it was taken.
  const port = arm === 'image' ? imagePort(bench.image) : await freePort();
  const [argv, env] = ARMS[arm](bench);
  const from = performance.now();
  const child = launch(argv, { ...env, PORT: String(port) });
  const running = watch(child, undefined, 600_000);
  try {
    await Promise.race([running.matches(/\d+ workers serve/), running.failed]);
    return await work({ port, pid: child.pid, ms: performance.now() - from, running });
  } finally {
    running.tell();
    try {
      process.kill(-Number(child.pid), 'SIGKILL');
    } catch {
      // The work was to end it.
    }
    await running.ended;
  }
}

function imagePort(image) {
  const { slots } = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8'));
  return slots.find(({ kind }) => kind === 'tcp').port;
}

async function measureStarts(bench) {
  const arm = (name) => async () => await withServer(bench, name, async ({ ms }) => ({ ms }));
  const arms = { cluster: arm('cluster'), cold: arm('cold'), image: arm('image') };
  if (bench.size.rounds > 1) return await interleave(arms, bench.size.rounds, bench.progress);
  const samples = {};
  for (const [name, measure] of Object.entries(arms)) samples[name] = [await measure()];
  return samples;
}

/** The sum of PSS over all processes after so many requests for each worker, with and without reforks. */
async function measureMemory(bench) {
  const result = {};
  for (const arm of ['cluster', 'cold', 'refork']) {
    bench.progress(`memory, ${arm}`);
    result[arm] = await withServer(bench, arm, async ({ port, pid }) => {
      const curve = [];
      let sent = 0;
      for (const requests of bench.size.requests) {
        await pages(port, (requests - sent) * bench.size.workers);
        sent = requests;
        // Reforks that are under way come to their end, and readings of memory after it are of the same state.
        await pause(bench.size.settleMs);
        curve.push({ requests, mb: pssOf(tree(pid)) / 1e6 });
      }
      return curve;
    });
  }
  return result;
}

/** First requests of workers that took the place of killed ones, and processor time per request. */
async function measureSteady(bench) {
  const arms = {};
  for (const arm of ['cluster', 'steady']) {
    arms[arm] = async () =>
      await withServer(bench, arm, async ({ port, pid, running }) => {
        await warmUp(bench, { port, isReforking: arm === 'steady', running });
        const before = cpuOf(tree(pid));
        await pages(port, bench.size.steady);
        const cpu = (1000 * (cpuOf(tree(pid)) - before)) / bench.size.steady;
        const first = [];
        for (let time = 0; time < bench.size.replacements; time++) first.push(await replace(port, pid));
        return { cpu, first: first.map(({ answers }) => answers), gap: first.map(({ gap }) => gap) };
      });
  }
  // Each server is warmed up by itself, so that no round has to be thrown away.
  const samples = { cluster: [], refork: [] };
  for (let round = 0; round < Math.max(1, bench.size.rounds - 2); round++) {
    bench.progress(`steady state, round ${round + 1}`);
    const names = round % 2 === 0 ? ['cluster', 'steady'] : ['steady', 'cluster'];
    for (const name of names) samples[name === 'steady' ? 'refork' : name].push(await arms[name]());
  }
  return samples;
}

/** All workers answer until they are warm; those of forkpoint serve until the last refork is over. */
async function warmUp({ size }, { port, isReforking, running }) {
  const batch = size.workers * Math.max(...thresholds(size, 'steady'));
  const until = performance.now() + WARM_MS;
  for (let time = 0; time < 2 || (isReforking && !/generation 2 was made/.test(running.output())); time++) {
    if (performance.now() > until)
      throw new Error('there were not as many reforks as there should have been');
    await pages(port, batch);
  }
  // The rollout that follows the image.
  if (isReforking) await pause(size.settleMs);
  await pages(port, batch);
}

/**
 * Kills a worker; returns how long the first requests of the next one took, together, and how long it was until the first of
 * them was answered, in milliseconds. All go one after another, so that what other workers do at the time is nothing of it.
 */
async function replace(port, pid) {
  const known = new Set();
  for (let time = 0; time < 100; time++) known.add((await page(port, time)).worker);
  const victims = tree(pid).filter((one) => isWorker(one));
  const victim = victims[Math.floor(Math.random() * victims.length)];
  if (victim === undefined) throw new Error('there is no worker to kill');
  const killed = performance.now();
  process.kill(victim, 'SIGKILL');
  const took = new Map();
  let gap;
  for (let time = 0; time < 20_000; time++) {
    // What the killed worker had in its hands is cut; the next request goes to another one.
    const answer = await page(port, time).catch(() => undefined);
    if (answer === undefined || known.has(answer.worker) || answer.count > FIRST) continue;
    // A worker that was there before, and that nobody has met yet.
    if (!took.has(answer.worker) && answer.count > 1) continue;
    gap ??= performance.now() - killed;
    const { sum = 0, count = 0 } = took.get(answer.worker) ?? {};
    took.set(answer.worker, { sum: sum + answer.ms, count: count + 1 });
    if (count + 1 === FIRST) return { answers: sum + answer.ms, gap };
  }
  throw new Error('no worker came in the place of the one that was killed');
}

/** Gets so many pages, eight at a time, each on a connection of its own, so that all workers get some. */
async function pages(port, count) {
  let left = count;
  const agent = new Agent({ keepAlive: false });
  const client = async () => {
    while (left-- > 0) await page(port, left, agent);
  };
  await Promise.all(Array.from({ length: 8 }, client));
}
