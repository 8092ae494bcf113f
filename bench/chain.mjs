// Chains of checkpoints: what an incremental one writes and how long it stops the program, beside a full one; and how long
// the first and the last image of a chain take to restore, after what was flattened in the background.
import { existsSync, mkdtempSync, rmSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { interleave, pairs, shown, summary, table } from './driver.mjs';
import {
  ask,
  firstLine,
  forkpoint,
  freePort,
  launch,
  machine,
  namesIn,
  root,
  run,
  watch,
} from './processes.mjs';

/** Megabytes of the C heap whose checkpoints are compared, and of that of the chain; generations; pairs. */
const SIZES = {
  smoke: { heapMb: 32, chainMb: 16, nodeMb: 0, generations: 2, rounds: 1, requests: 20 },
  quick: { heapMb: 256, chainMb: 256, nodeMb: 20, generations: 5, rounds: 3, requests: 200 },
  full: { heapMb: 1024, chainMb: 500, nodeMb: 50, generations: 10, rounds: 7, requests: 200 },
};
const LIMIT_MS = 180_000;
const DIRTY_PERCENT = 1;

/**
 * Runs the benchmark in a data directory in which set-up has been done.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', progress?: (text: string) => void }} options
 */
export async function benchChain({ home, size = 'quick', progress = () => undefined }) {
  const wanted = SIZES[size];
  const scratch = mkdtempSync(join(home, 'bench-'));
  try {
    const fifo = join(scratch, 'first');
    run('mkfifo', [fifo]);
    const program = join(scratch, 'chain');
    run('cc', ['-O1', '-o', program, join(root, 'packages/testkit/src/programs/c/chain.c')]);
    const env = {
      ...process.env,
      FORKPOINT_HOME: home,
      FORKPOINT_NODE: process.execPath,
      BENCH_FIFO: fifo,
      BENCH_WARM: '0',
    };
    const bench = { scratch, fifo, program, env, progress, ...wanted };
    const checkpoints = await compareCheckpoints(bench);
    const c = await chainOf(bench, 'C', cProgram(bench));
    const node = await chainOf(bench, 'Node', await nodeProgram(bench));
    return { ...wanted, checkpoints, chains: { C: c, Node: node }, machine: machine() };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** A heap in C of which a hundredth of the pages, drawn at random, is changed in each generation. */
function cProgram({ program, chainMb, env }) {
  return {
    argv: [program, String(chainMb), String(DIRTY_PERCENT)],
    env,
    use: async (running, name) => {
      run(forkpoint, ['kill', name, '--signal', 'USR1'], env);
      await Promise.race([running.matches(/dirty \d+\n/), running.failed]);
    },
  };
}

/** A server that is asked for other pages in each generation. */
async function nodeProgram({ env, nodeMb, requests }) {
  const port = await freePort();
  let asked = 0;
  return {
    argv: [process.execPath, join(root, 'bench/programs/page-server.cjs')],
    env: { ...env, PORT: String(port), BENCH_MB: String(nodeMb) },
    use: async () => {
      for (let i = 0; i < requests; i++) await ask(port, `/page/${(asked++ * 37) % 40_000}`);
    },
  };
}

/** Starts a command and waits for the program's first callback; returns how long that took. */
async function start({ fifo }, args, env) {
  const first = firstLine(fifo);
  const began = performance.now();
  const running = watch(launch([forkpoint, ...args], env), undefined, LIMIT_MS);
  await Promise.race([first.line, running.failed]);
  return { running, callbackMs: performance.now() - began };
}

function checkpoint(name, image, env, flags = []) {
  return JSON.parse(run(forkpoint, ['checkpoint', name, image, '--json', ...flags], env, LIMIT_MS));
}

async function kill(running, name, env) {
  running.tell();
  run(forkpoint, ['kill', name, '--signal', 'KILL'], env);
  await running.ended;
}

/** A full checkpoint of a fresh program beside one of a restored program that has changed 1%, synced alike. */
async function compareCheckpoints(bench) {
  const { scratch, program, heapMb, env, rounds, progress } = bench;
  const name = `bench-${process.pid}`;
  const [base, full, next] = ['base', 'full', 'next'].map((one) => join(scratch, one));
  const argv = [program, String(heapMb), String(DIRTY_PERCENT)];
  const { running } = await start(bench, ['run', '--name', name, '--', ...argv], env);
  const baseBytes = bytesOf(base, checkpoint(name, base, env).image);
  const variants = {
    full: async () => measured(name, full, env, base),
    incremental: async () => {
      const other = `${name}-next`;
      const restored = await start(bench, ['restore', base, '--name', other], env);
      run(forkpoint, ['kill', other, '--signal', 'USR1'], env);
      await Promise.race([restored.running.matches(/dirty \d+\n/), restored.running.failed]);
      const sample = await measured(other, next, env, base);
      await kill(restored.running, other, env);
      return sample;
    },
  };
  const samples = await interleave(variants, rounds, (text) => progress(`checkpoints, ${text}`));
  await kill(running, name, env);
  for (const image of [base, full, next]) rmSync(image, { recursive: true, force: true });
  return { samples, baseBytes };
}

async function measured(name, image, env, base) {
  rmSync(image, { recursive: true, force: true });
  const { times } = checkpoint(name, image, env);
  // Counted before the background may have flattened it: what the checkpoint itself has written.
  return { frozenMs: times.frozen, totalMs: times.total, bytes: bytesOf(image, base) };
}

/** Bytes of an image that are not those of another one. */
function bytesOf(image, other) {
  const known = new Set(image === other ? [] : namesIn(other).map((path) => statSync(path).ino));
  return namesIn(image).reduce((sum, path) => {
    const { ino, size } = statSync(path);
    return known.has(ino) ? sum : sum + size;
  }, 0);
}

/** Takes a chain of images, each of a clone of the one before, and restores the first and the last in turn. */
async function chainOf(bench, label, { argv, env, use }) {
  const { scratch, generations, rounds, progress } = bench;
  const name = `bench-${process.pid}-${label}`;
  const images = Array.from({ length: generations + 1 }, (_, i) => join(scratch, `${label}-${i}`));
  const first = await start(bench, ['run', '--name', name, '--', ...argv], env);
  first.running.tell();
  checkpoint(name, images[0], env, ['--stop']);
  await first.running.ended;
  for (let i = 1; i <= generations; i++) {
    progress(`${label}: generation ${i} of ${generations}`);
    const { running } = await start(bench, ['restore', images[i - 1], '--name', name], env);
    await use(running, name);
    running.tell();
    checkpoint(name, images[i], env, ['--stop']);
    await running.ended;
    await settled(images[i]);
  }
  const restored = (image) => async () => {
    const { running, callbackMs } = await start(bench, ['restore', image, '--name', name], env);
    await kill(running, name, env);
    return { callbackMs };
  };
  const samples = await interleave(
    { first: restored(images[0]), last: restored(images[generations]) },
    rounds,
    (text) => progress(`${label}: ${text}`),
  );
  const layers = namesIn(join(images[generations], 'layers')).length;
  for (const image of images) rmSync(image, { recursive: true, force: true });
  return { samples, layers };
}

/** Waits until the worker has done what it does behind the program's end: the digests come last. */
async function settled(image) {
  const deadline = Date.now() + LIMIT_MS;
  while (!existsSync(join(image, 'digests.json')) && Date.now() < deadline) await pause(50);
}

/** Returns the result of benchChain as text. */
export function reportChain({ heapMb, generations, rounds, checkpoints, chains, machine: where }) {
  const { full, incremental } = checkpoints.samples;
  const megabytes = (samples) =>
    shown(
      summary(
        samples.map(({ bytes }) => ({ value: bytes / 1e6 })),
        'value',
      ),
    );
  const frozen = pairs(full, incremental, (a, b) => a.frozenMs / b.frozenMs);
  const share = pairs(incremental, full, (a) => (100 * a.bytes) / checkpoints.baseBytes);
  const target = (ok) => (ok ? 'met' : 'missed');
  return [
    `${rounds} rounds, C heap of ${heapMb} MB, 1% changed; ${where}`,
    '',
    table([
      ['checkpoint', 'frozen ms', 'in all ms', 'written MB'],
      ...Object.entries(checkpoints.samples).map(([name, samples]) => [
        name,
        shown(summary(samples, 'frozenMs')),
        shown(summary(samples, 'totalMs')),
        megabytes(samples),
      ]),
    ]),
    '',
    `frozen, full / incremental   ${shown(frozen)}   target 10: ${target(frozen.median >= 10)}`,
    `written of a full one        ${shown(share, 2)}%   target 3%: ${target(share.median <= 3)}`,
    ...Object.entries(chains).map(([name, { samples, layers }]) => {
      const ratio = pairs(samples.last, samples.first, (a, b) => a.callbackMs / b.callbackMs);
      const times = ['first', 'last'].map((one) => shown(summary(samples[one], 'callbackMs'))).join(' and ');
      return `chain of ${generations}, ${name}: ${times} ms, last / first ${shown(ratio, 2)}   target 1.5: ${target(ratio.median <= 1.5)}; ${layers} page files in the last`;
    }),
  ].join('\n');
}
