// Restores on a cold page cache: the files of the image are taken out of it before each start. Plain CRIU, forkpoint, a
// trained image, and the same warm. Time to the first answer of a server.
import { existsSync, mkdtempSync, rmSync } from 'node:fs';
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
  mapped,
  namesIn,
  root,
  run,
  sizeOf,
  watch,
} from './processes.mjs';
import { prepareStock } from './stock.mjs';

const SIZES = {
  smoke: { rounds: 1, heapMb: 0, warm: 50 },
  quick: { rounds: 5, heapMb: 50, warm: 1000 },
  full: { rounds: 9, heapMb: 50, warm: 3000 },
};
const LIMIT_MS = 120_000;
const PATH = '/item/7';

/**
 * Runs the benchmark in a data directory in which set-up has been done.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', progress?: (text: string) => void }} options
 */
export async function benchCold({ home, size = 'quick', progress = () => undefined }) {
  const { rounds, heapMb, warm } = SIZES[size];
  const scratch = mkdtempSync(join(home, 'bench-'));
  try {
    const port = await freePort();
    const fifo = join(scratch, 'first');
    run('mkfifo', [fifo]);
    const env = {
      ...process.env,
      ...{ FORKPOINT_HOME: home, FORKPOINT_NODE: process.execPath, PORT: String(port), BENCH_FIFO: fifo },
      ...{ BENCH_WARM: String(warm), BENCH_MB: String(heapMb) },
    };
    const images = mapped({ plain: 'plain', linked: 'linked', trained: 'trained' }, (name) =>
      join(scratch, name),
    );
    const bench = { home, port, fifo, env, answers: new Set() };
    progress('taking the images');
    await takeImages(bench, images);
    const probe = `fetch("http://127.0.0.1:${port}${PATH}").then((answer) => process.exit(answer.ok ? 0 : 1))`;
    const trained = JSON.parse(
      run(forkpoint, ['train', images.trained, '--json', '--', process.execPath, '-e', probe], env, LIMIT_MS),
    );
    const ours = (image, isCold) => async () => ({
      isCold,
      image,
      start: () => launch([forkpoint, 'restore', image], env),
      after: () => undefined,
    });
    const variants = {
      'stock criu, cold': async () => {
        const stock = await prepareStock({ home, image: images.plain, port });
        return { isCold: true, image: images.plain, start: stock.start, after: () => stock.remove() };
      },
      'forkpoint, cold': ours(images.linked, true),
      'trained, cold': ours(images.trained, true),
      'trained, warm': ours(images.trained, false),
    };
    const times = await interleave(
      mapped(variants, (variant) => () => timed(bench, variant)),
      rounds,
      progress,
    );
    return {
      rounds,
      times,
      trained,
      bytes: sizeOf(images.linked),
      answers: [...bench.answers],
      machine: machine(),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Starts the server, lets it warm up and takes the images: one as CRIU writes it, two that are linked. */
async function takeImages({ fifo, env }, images) {
  const name = `bench-${process.pid}`;
  const first = firstLine(fifo);
  const program = join(root, 'bench/programs/page-server.cjs');
  const running = watch(
    launch([forkpoint, 'run', '--name', name, '--', process.execPath, program], env),
    undefined,
    LIMIT_MS,
  );
  await Promise.race([first.line, running.failed]);
  run(forkpoint, ['checkpoint', name, images.plain, '--no-link'], env, LIMIT_MS);
  run(forkpoint, ['checkpoint', name, images.linked], env, LIMIT_MS);
  running.tell();
  run(forkpoint, ['checkpoint', name, images.trained, '--stop'], env, LIMIT_MS);
  await running.ended;
  // The digests are read behind everybody's back: they would warm the page cache in the middle of a measurement.
  const deadline = Date.now() + LIMIT_MS;
  for (const image of Object.values(images))
    while (!existsSync(join(image, 'digests.json')) && Date.now() < deadline) await pause(50);
}

async function timed({ home, port, fifo, answers }, variant) {
  const { isCold, image, start, after } = await variant();
  const launcher = join(home, 'engine/native/current/launcher');
  if (isCold) run(launcher, ['evict', ...namesIn(image)]);
  const first = firstLine(fifo);
  const began = performance.now();
  const running = watch(start([]), undefined, LIMIT_MS);
  await Promise.race([first.line, running.failed]);
  const callbackMs = performance.now() - began;
  answers.add(await Promise.race([ask(port, PATH), running.failed]));
  const answerMs = performance.now() - began;
  if (answers.size > 1)
    throw new Error('the answers differ: a measurement of something else than the same program');
  running.tell();
  await ask(port, '/quit');
  await running.ended;
  after();
  return { callbackMs, answerMs };
}

/** Returns the result of benchCold as text. */
export function reportCold({ rounds, times, trained, bytes, answers, machine: where }) {
  const ratio = (a, b) => pairs(times[a], times[b], (x, y) => x.answerMs / y.answerMs);
  const megabytes = (count) => (count / 1e6).toFixed(1);
  const rows = [
    ['trained, cold / stock criu, cold', ratio('trained, cold', 'stock criu, cold'), 0.5],
    ['trained, cold / trained, warm', ratio('trained, cold', 'trained, warm'), 2],
    ['trained, cold / forkpoint, cold', ratio('trained, cold', 'forkpoint, cold'), null],
  ];
  return [
    `${rounds} rounds, image of ${megabytes(bytes)} MB; ${where}`,
    '',
    table([
      ['median (min..max)', 'first callback ms', 'first answer ms'],
      ...Object.entries(times).map(([name, samples]) => [
        name,
        shown(summary(samples, 'callbackMs')),
        shown(summary(samples, 'answerMs')),
      ]),
    ]),
    '',
    ...rows.map(([name, value, target]) => rowOf(name, value, target)),
    `touched ${megabytes(trained.touchedBytes)} MB of ${megabytes(trained.layerBytes)} MB, read ahead ${megabytes(trained.prefetchBytes)} MB in ${trained.ranges} ranges; ${answers.length} answer in all`,
  ].join('\n');
}

/** @param {string} name @param {{ median: number, min: number, max: number }} value @param {number | null} target */
function rowOf(name, value, target) {
  const verdict = target === null ? '' : `   target ${target}: ${value.median <= target ? 'met' : 'missed'}`;
  return `${name.padEnd(34)} ${shown(value, 2)}${verdict}`;
}
