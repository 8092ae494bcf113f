// Time from a command to the first callback and the first answer of a warm server: started cold, restored by plain CRIU,
// restored by forkpoint with and without new randomness.
import { createHash } from 'node:crypto';
import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { interleave } from './driver.mjs';
import {
  ask,
  criuTime,
  firstLine,
  forkpoint,
  freePort,
  launch,
  machine,
  mapped,
  root,
  run,
  sizeOf,
  watch,
} from './processes.mjs';
import { prepareStock } from './stock.mjs';

const program = join(root, 'bench/programs/ticking-server.cjs');
const PATHS = ['/item/7', '/search/lamp', '/search/green', '/item/39999'];
// `time` of bash has milliseconds; the children's page faults are field 11 of /proc/PID/stat (proc(5)).
const METER = 'TIMEFORMAT="cpu %3U %3S"; time "$@"; read -r stat < /proc/self/stat; echo "stat $stat" >&2';

/** Rounds and warm-up requests by size. */
const SIZES = {
  smoke: { rounds: 1, cpuRounds: 1, warm: 100 },
  quick: { rounds: 7, cpuRounds: 3, warm: 3000 },
  full: { rounds: 15, cpuRounds: 7, warm: 3000 },
};

/**
 * Runs the benchmark in a data directory in which set-up has been done. Returns the samples of all rounds.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', progress?: (text: string) => void }} options
 */
export async function benchRestore({ home, size = 'quick', progress = () => undefined }) {
  const { rounds, cpuRounds, warm } = SIZES[size];
  const scratch = mkdtempSync(join(home, 'bench-'));
  const port = await freePort();
  const fifo = join(scratch, 'first');
  run('mkfifo', [fifo]);
  const env = {
    ...process.env,
    FORKPOINT_HOME: home,
    FORKPOINT_NODE: process.execPath,
    PORT: String(port),
    BENCH_FIFO: fifo,
    BENCH_WARM: String(warm),
  };
  const images = { linked: join(scratch, 'linked'), plain: join(scratch, 'plain') };
  const bench = { home, scratch, port, fifo, env, images, hashes: new Set() };
  try {
    progress('taking the images');
    await takeImages(bench);
    const variants = variantsOf(bench);
    const times = await interleave(
      mapped(variants, (variant) => () => timed(bench, variant)),
      rounds,
      progress,
    );
    const costs = await interleave(
      mapped(variants, (variant) => () => metered(bench, variant)),
      cpuRounds,
      (text) => progress(`processor time, ${text}`),
    );
    return {
      size,
      rounds,
      warm,
      times,
      costs,
      hashes: [...bench.hashes],
      bytes: mapped(images, sizeOf),
      machine: machine(),
    };
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Each returns `{ start(prefix), after() }`: what is prepared beforehand, the start, and what is read afterwards. */
function variantsOf(bench) {
  const plain = (env) => () => ({
    start: (prefix) => launch([...prefix, process.execPath, program], { ...bench.env, ...env }),
    after: () => ({}),
  });
  const ours =
    (image, flags = []) =>
    () => {
      const before = new Set(readdirSync(join(bench.home, 'runs')));
      return {
        start: (prefix) => launch([...prefix, forkpoint, 'restore', image, ...flags], bench.env),
        after: () => ({ criuMs: criuTime(bench.home, before) }),
      };
    };
  return {
    'cold start': plain({ BENCH_WARM: '0' }),
    'cold start and warm-up': plain({}),
    'stock criu restore': async () => {
      const stock = await prepareStock({ ...bench, image: bench.images.plain });
      return { start: stock.start, after: () => stock.remove() ?? {}, why: stock.log };
    },
    'forkpoint restore, image of --no-link': ours(bench.images.plain),
    'forkpoint restore': ours(bench.images.linked),
    'forkpoint restore --no-reseed': ours(bench.images.linked, ['--no-reseed']),
  };
}

/** One start with a stopwatch: milliseconds to the first callback, to the first answer, and CRIU's own. */
async function timed(bench, variant) {
  const prepared = await variant();
  const first = firstLine(bench.fifo);
  const began = performance.now();
  const running = watch(prepared.start([]), prepared.why);
  await Promise.race([first.line, running.failed]);
  const callbackMs = performance.now() - began;
  const answer = await Promise.race([ask(bench.port, PATHS[0]), running.failed]);
  const answerMs = performance.now() - began;
  await hashAnswers(bench, answer);
  await quit(bench, running);
  return { callbackMs, answerMs, ...prepared.after() };
}

/** The same with a meter for processor time and page faults instead of the stopwatch. */
async function metered(bench, variant) {
  const prepared = await variant();
  const first = firstLine(bench.fifo);
  const running = watch(prepared.start(['bash', '-c', METER, 'meter']), prepared.why);
  await Promise.race([first.line, running.failed]);
  await quit(bench, running);
  prepared.after();
  const [, user, system] = /^cpu ([\d.]+) ([\d.]+)$/m.exec(running.output()) ?? [];
  const fields = /^stat .*\) (.*)$/m.exec(running.output())?.[1].split(' ') ?? [];
  return { cpuMs: (Number(user) + Number(system)) * 1000, faults: Number(fields[8]) };
}

async function quit(bench, running) {
  running.tell();
  await ask(bench.port, '/quit');
  await running.ended;
}

/** Starts the server in a pod, lets it warm up and takes two images: one as CRIU writes it, one for quick restores. */
async function takeImages(bench) {
  const first = firstLine(bench.fifo);
  const running = watch(
    launch([forkpoint, 'run', '--name', `bench-${process.pid}`, '--', process.execPath, program], bench.env),
  );
  await Promise.race([first.line, running.failed]);
  await hashAnswers(bench);
  run(forkpoint, ['checkpoint', `bench-${process.pid}`, bench.images.plain, '--no-link'], bench.env);
  running.tell();
  run(forkpoint, ['checkpoint', `bench-${process.pid}`, bench.images.linked, '--stop'], bench.env);
  await running.ended;
}

/** What the server says may depend neither on how it was started nor on how often. */
async function hashAnswers(bench, known) {
  const hash = createHash('sha256');
  for (const path of PATHS)
    hash.update(path === PATHS[0] && known !== undefined ? known : await ask(bench.port, path));
  bench.hashes.add(hash.digest('hex').slice(0, 16));
  if (bench.hashes.size > 1)
    throw new Error('the answers differ: a measurement of something else than the same program');
}
