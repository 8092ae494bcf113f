// The wish to "incrementally improve" an image: generation 1 is taken of a server that has answered nothing yet, generation 2
// of a clone of it that has answered 1,000 requests. Clones of both, in turn, are asked the same first requests.
import { createHash } from 'node:crypto';
import { statSync } from 'node:fs';
import { Agent } from 'node:http';
import { join } from 'node:path';
import { interleave } from './driver.mjs';
import { ask, firstLine, forkpoint, freePort, launch, namesIn, root, run, watch } from './processes.mjs';

const program = join(root, 'bench/programs/page-server.cjs');
const LIMIT_MS = 120_000;

/**
 * Measures how long clones of both generations take for their first requests.
 * @param {{ home: string, scratch: string, size: { pairs: number, warm: number, first: number }, progress: (text: string) => void }} options
 */
export async function measureImprovement({ home, scratch, size: { pairs, warm, first }, progress }) {
  const port = await freePort();
  const fifo = join(scratch, 'first');
  run('mkfifo', [fifo]);
  const env = {
    ...process.env,
    FORKPOINT_HOME: home,
    FORKPOINT_NODE: process.execPath,
    PORT: String(port),
    BENCH_FIFO: fifo,
    BENCH_WARM: '0',
  };
  const bench = { port, fifo, env, first, hashes: new Set() };
  const images = ['generation-1', 'generation-2'].map((name) => join(scratch, name));
  const name = `bench-${process.pid}`;
  progress('taking generation 1');
  await takeImage(bench, ['run', '--name', name, '--', process.execPath, program], name, images[0], 0);
  progress(`taking generation 2, after ${warm} requests`);
  await takeImage(bench, ['restore', images[0], '--name', name], name, images[1], warm);
  const times = await interleave(
    { 'generation 1': () => served(bench, images[0]), 'generation 2': () => served(bench, images[1]) },
    pairs,
    progress,
  );
  return { rounds: pairs, warm, first, times, bytes: bytesOf(images), hashes: [...bench.hashes] };
}

/** The requests that are asked, by number: all differ a little, as they do in life. */
function pathOf(number) {
  return `/page/${(number * 37) % 40_000}`;
}

/** Starts a server, asks it `requests` times and takes an image, with which it ends. */
async function takeImage({ port, fifo, env }, args, name, image, requests) {
  const first = firstLine(fifo);
  const running = watch(launch([forkpoint, ...args], env), undefined, LIMIT_MS);
  await Promise.race([first.line, running.failed]);
  for (let i = 0; i < requests; i++) await ask(port, pathOf(i));
  running.tell();
  run(forkpoint, ['checkpoint', name, image, '--stop'], env, LIMIT_MS);
  await running.ended;
}

/** One restore: milliseconds to the first callback, and from there on for the first requests, one after the other. */
async function served({ port, fifo, env, first, hashes }, image) {
  const callback = firstLine(fifo);
  const agent = new Agent({ keepAlive: true, maxSockets: 1 });
  const hash = createHash('sha256');
  const began = performance.now();
  const running = watch(launch([forkpoint, 'restore', image], env), undefined, LIMIT_MS);
  await Promise.race([callback.line, running.failed]);
  const callbackMs = performance.now() - began;
  for (let i = 0; i < first; i++)
    hash.update(await Promise.race([ask(port, pathOf(i), agent), running.failed]));
  const requestsMs = performance.now() - began - callbackMs;
  agent.destroy();
  hashes.add(hash.digest('hex').slice(0, 16));
  if (hashes.size > 1)
    throw new Error('the answers differ: a measurement of something else than the same program');
  running.tell();
  await ask(port, '/quit');
  await running.ended;
  return { callbackMs, requestsMs };
}

/** Bytes of both images, and of those the bytes that the second has of its own: the rest is the first one's, linked. */
function bytesOf(images) {
  const [first, second] = images.map((image) => namesIn(image).map((path) => statSync(path)));
  const sum = (files) => files.reduce((total, { size }) => total + size, 0);
  const known = new Set(first.map(({ ino }) => ino));
  return { first: sum(first), second: sum(second), own: sum(second.filter(({ ino }) => !known.has(ino))) };
}
