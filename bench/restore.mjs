// Time from a command to the first callback and the first answer of a warm server: started cold, restored by plain CRIU,
// restored by forkpoint with and without new randomness.
import { spawn, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants, mkdtempSync, openSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { createServer, Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { interleave } from './driver.mjs';
import { prepareStock } from './stock.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const forkpoint = join(root, 'bin/forkpoint');
const program = join(root, 'bench/programs/ticking-server.cjs');
const LIMIT_MS = 30_000;
const PATHS = ['/item/7', '/search/lamp', '/search/green', '/item/39999'];
// `time` of bash has milliseconds; the children's page faults are field 11 of /proc/PID/stat (proc(5)).
const METER = 'TIMEFORMAT="cpu %3U %3S"; time "$@"; read -r stat < /proc/self/stat; echo "stat $stat" >&2';

/** Rounds and warm-up requests by size. */
const SIZES = {
  smoke: { rounds: 2, cpuRounds: 1, warm: 300 },
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

function mapped(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
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

function launch([file, ...args], env) {
  return spawn(file, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
}

/** One start with a stopwatch: milliseconds to the first callback, to the first answer, and CRIU's own. */
async function timed(bench, variant) {
  const prepared = await variant();
  const first = firstLine(bench.fifo);
  const began = performance.now();
  const running = watch(prepared.start([]), prepared.why);
  await Promise.race([first.line, running.failed]);
  const callbackMs = performance.now() - began;
  const [answer] = await Promise.race([ask(bench.port, PATHS[0]), running.failed]);
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

/** Looks after a child: its output, its end, and a failure when it ends before it was told to. */
function watch(child, why = () => '') {
  let output = '';
  let told = false;
  const take = (chunk) => {
    output = (output + chunk).slice(-65_536);
  };
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  const end = () => {
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended.
    }
  };
  process.once('exit', end);
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
  const timer = setTimeout(end, LIMIT_MS);
  const failed = ended.then((code) => {
    clearTimeout(timer);
    process.removeListener('exit', end);
    if (told) return;
    throw new Error(`${child.spawnargs.slice(0, 4).join(' ')} ... ended with ${code}: ${output}${why()}`);
  });
  failed.catch(() => undefined);
  return { ended, failed, output: () => output, tell: () => (told = true) };
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
    hash.update(path === PATHS[0] && known !== undefined ? known : (await ask(bench.port, path))[0]);
  bench.hashes.add(hash.digest('hex').slice(0, 16));
  if (bench.hashes.size > 1)
    throw new Error('the answers differ: a measurement of something else than the same program');
}

/** Opens the FIFO; `line` resolves when something has been written to it. */
function firstLine(fifo) {
  const socket = new Socket({
    fd: openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK),
    readable: true,
    writable: false,
  });
  return {
    line: new Promise((resolve, reject) => {
      socket.once('error', reject);
      socket.once('data', () => {
        socket.destroy();
        resolve();
      });
    }),
  };
}

/** Returns the body of an answer, from a connection of its own. */
function ask(port, path) {
  return new Promise((resolve, reject) => {
    const asking = request({ host: '127.0.0.1', port, path, agent: false, timeout: LIMIT_MS }, (response) => {
      let body = '';
      response
        .setEncoding('utf8')
        .on('data', (text) => (body += text))
        .on('end', () => resolve([body, response.statusCode]));
    });
    asking
      .on('error', reject)
      .on('timeout', () => asking.destroy(new Error(`no answer from ${path}`)))
      .end();
  });
}

/** How long CRIU took, its start included, in the one run that was not there before. */
function criuTime(home, before) {
  const [id] = readdirSync(join(home, 'runs')).filter((name) => !before.has(name));
  const log = readFileSync(join(home, 'runs', id, 'launcher.log'), 'utf8');
  return Number(/CRIU took (\d+) us/.exec(log)?.[1]) / 1000;
}

/** Returns a port that was free a moment ago. */
function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

function run(file, args, env = process.env) {
  const { status, stderr, error } = spawnSync(file, args, {
    encoding: 'utf8',
    env,
    cwd: root,
    timeout: LIMIT_MS,
  });
  if (status !== 0) throw new Error(`${file} ${args[0]} failed: ${error?.message ?? stderr}`);
}

/** Bytes of all files below a directory. */
function sizeOf(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(directory, name)))
    .reduce((sum, status) => sum + (status.isFile() ? status.size : 0), 0);
}

function machine() {
  const cpus = readFileSync('/proc/cpuinfo', 'utf8').match(/^processor/gm)?.length ?? 0;
  return `${cpus} processors, Linux ${readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim()}, Node ${process.version}, load ${readFileSync('/proc/loadavg', 'utf8').split(' ')[0]}`;
}
