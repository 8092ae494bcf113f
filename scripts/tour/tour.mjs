// The tour of `npm start`: a warm server and a counter, checkpointed and restored, with the commands a person would type.
import { createHash } from 'node:crypto';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { prepareStock } from '../../bench/stock.mjs';
import { alone, SetupError } from '../lib/step.mjs';
import { freePort } from '../lib/port.mjs';
import { firstAnswer, median, memoryOf, page, sizeOf } from './figures.mjs';
import { heading, say, Stage, TourError } from './stage.mjs';

const PATHS = ['/item/7', '/search/lamp', '/search/green', '/item/39999'];
const WARM_REQUESTS = 1500;
const ROUNDS = 3;
const LOCK_LIMIT_MS = 180_000;
const SERVER = 'node examples/server.cjs';

/**
 * Runs the tour and returns the exit code; everything that it has started has ended then. `home` is the data directory.
 * A second tour waits for the first, for their directory is the same.
 */
export async function tour(home) {
  mkdirSync(home, { recursive: true, mode: 0o700 });
  try {
    return await alone(join(home, 'tour.lock'), LOCK_LIMIT_MS, async () => await perform(home));
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    process.stderr.write(`Error: ${error.message}\n`);
    return 1;
  }
}

async function perform(home) {
  const stage = new Stage(home);
  const interrupt = (signal) => {
    stage.end();
    process.stderr.write(`\n${signal}: the tour has ended, with everything that it had started\n`);
    process.exit(signal === 'SIGINT' ? 130 : 143);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, interrupt);
  // Who reads has gone, as in `npm start | head`.
  process.stdout.once('error', () => {
    stage.end();
    process.exit(1);
  });
  try {
    say(`The tour takes place in ${stage.directory};`);
    say('`forkpoint` is bin/forkpoint of this checkout.');
    const figures = await serverScene(stage);
    await counterScene(stage);
    showTable(figures);
    say(`\nThe images lie in ${stage.directory}:`);
    say('warm and plain (the server), img1 and img2 (the counter).');
    say('Next: bin/forkpoint --help, README.md');
    return 0;
  } catch (error) {
    process.stderr.write(`\nError: ${error.message}\n`);
    if (!(error instanceof TourError)) process.stderr.write(`${error.stack}\n`);
    process.stderr.write('Hint: run `bin/forkpoint doctor` to see what this machine can do\n');
    return 1;
  } finally {
    stage.end();
  }
}

async function serverScene(stage) {
  const port = await freePort();
  heading('1. A Fastify server that knows nothing of forkpoint');
  const cold = [];
  for (let round = 0; round < ROUNDS; round++) cold.push(await coldStart(stage, port));
  say(`Started cold, it gives its first answer after ${median(cold.map(({ time }) => time)).toFixed(0)} ms.`);
  say('Now in a pod:');
  await stage.command(`PORT=${port} forkpoint run -d --name tour-shop -- ${SERVER}`);
  const answers = await warmUp(port);
  await page(port, '/hits');
  say(`Warmed with ${WARM_REQUESTS} requests. A checkpoint, which ends it:`);
  await stage.command('forkpoint checkpoint tour-shop ./warm --stop');

  heading('2. Restored: the same answers, byte for byte');
  say('$ forkpoint restore ./warm');
  const ours = [];
  for (let round = 0; round < ROUNDS; round++) ours.push(await restoredAnswer(stage, port, answers));
  for (const [path, text] of answers)
    say(`${path.padEnd(14)} ${String(text.length).padStart(5)} bytes, sha256 ${digest(text)}, the same`);
  say(`The first answer came after ${median(ours).toFixed(0)} ms.`);

  const memory = await clonesScene(stage, port);
  const stock = await stockStart(stage, port, answers);
  const image = sizeOf(join(stage.directory, 'warm'));
  return [
    ['started cold', median(cold.map(({ time }) => time)), null, cold[0].memory],
    ['plain criu restore', stock.time, stock.image, stock.memory],
    ['forkpoint restore', median(ours), image, memory],
  ];
}

async function clonesScene(stage, port) {
  heading('3. Two clones at once, with different random values');
  const other = await freePort();
  const restore = 'forkpoint restore ./warm -d --name';
  await stage.command(`${restore} tour-one &\n${restore} tour-two --listen ${port}=${other} &\nwait`);
  const randoms = [];
  for (const [name, where] of [
    ['tour-one', port],
    ['tour-two', other],
  ]) {
    const { hits } = JSON.parse(await page(where, '/hits'));
    const { uuid, number } = JSON.parse(await page(where, '/random'));
    say(`${name}: ${uuid} ${number.toFixed(12)}`);
    randoms.push(uuid, number);
    if (hits !== 2) throw new TourError(`${name} should go on at 2 hits and is at ${hits}`);
  }
  if (randoms[0] === randoms[2] || randoms[1] === randoms[3])
    throw new TourError('two clones drew the same random values');
  await stage.command('forkpoint ps');
  const runs = JSON.parse(await stage.ask(['ps', '--json']));
  for (const name of ['tour-one', 'tour-two']) {
    await stage.command(`forkpoint kill ${name}`);
    // The exit code is the program's, which a signal has ended.
    await stage.ask(['wait', name]).catch(() => undefined);
  }
  return runs.find(({ name }) => name === 'tour-two')?.memory ?? null;
}

/** Asks for every page, then for all of them many times; returns the pages. */
async function warmUp(port) {
  const answers = new Map();
  for (const path of PATHS) answers.set(path, await firstAnswer(port, path));
  for (let i = 0; i < WARM_REQUESTS; i++) await page(port, PATHS[i % PATHS.length]);
  return answers;
}

async function coldStart(stage, port) {
  const started = performance.now();
  const child = stage.start(SERVER.replace('node', process.execPath).split(' '), { PORT: String(port) });
  await firstAnswer(port, PATHS[0], child);
  const time = performance.now() - started;
  const memory = memoryOf(child.pid);
  await stage.stop(child);
  return { time, memory };
}

async function restoredAnswer(stage, port, answers) {
  const started = performance.now();
  const child = stage.start(['forkpoint', 'restore', './warm']);
  const first = await firstAnswer(port, PATHS[0], child);
  const time = performance.now() - started;
  for (const path of PATHS) {
    const text = path === PATHS[0] ? first : await page(port, path);
    if (text !== answers.get(path)) throw new TourError(`the restored server answers ${path} differently`);
  }
  await stage.stop(child, 'SIGTERM');
  return time;
}

/** The same program by plain `criu restore` and util-linux. Its time is null where these tools do not get that far. */
async function stockStart(stage, port, answers) {
  const image = join(stage.directory, 'plain');
  await stage.ask(['run', '-d', '--name', 'tour-plain', '--', process.execPath, 'examples/server.cjs'], {
    PORT: String(port),
  });
  await warmUp(port);
  await stage.ask(['checkpoint', 'tour-plain', image, '--stop', '--no-link']);
  const times = [];
  let memory = null;
  for (let round = 0; round < ROUNDS; round++) {
    const stock = await prepareStock({ home: stage.home, image, port });
    const remove = stage.clear(stock.remove);
    const started = performance.now();
    const child = stage.adopt(stock.start());
    const first = await firstAnswer(port, PATHS[0], child).catch(() => null);
    if (first === answers.get(PATHS[0])) times.push(performance.now() - started);
    memory ??= memoryOf(child.pid);
    await stage.stop(child);
    remove();
  }
  return { time: times.length === ROUNDS ? median(times) : null, image: sizeOf(image), memory };
}

async function counterScene(stage) {
  heading('4. A counter that checkpoints itself, each time elsewhere');
  expectLines(await stage.command('forkpoint run --to ./img1 -- node examples/counter.mjs'), 1, 3);
  expectLines(await stage.command('forkpoint restore ./img1 --to ./img2'), 4, 7);
  expectLines(await stage.command('forkpoint restore ./img2'), 8, 10);
  heading('5. An impossible directory: the program has an exception and goes on');
  const output = await stage.command('forkpoint run -- node examples/counter.mjs /proc/impossible');
  expectLines(output, 1, 10);
  if (!output.includes('CheckpointException'))
    throw new TourError('the counter should have had an exception');
}

function expectLines(output, first, last) {
  const found = [...output.matchAll(/^line (\d+)$/gm)].map((match) => Number(match[1]));
  const expected = Array.from({ length: last - first + 1 }, (_, i) => first + i);
  if (String(found) !== String(expected))
    throw new TourError(
      `the counter should print lines ${first} to ${last}, and printed ${found.join(', ') || 'none'}`,
    );
}

function showTable(rows) {
  heading('The warm server in figures (times: medians of three)');
  const mb = (bytes) => (bytes == null ? '-' : `${(bytes / 1e6).toFixed(1)} MB`);
  say(
    `${''.padEnd(20)}${'first answer'.padStart(13)}${'image'.padStart(10)}${'private'.padStart(10)}${'shared'.padStart(10)}`,
  );
  for (const [name, time, image, memory] of rows) {
    const cells = [mb(image), mb(memory?.privateBytes), mb(memory?.sharedBytes)].map((cell) =>
      cell.padStart(10),
    );
    say(name.padEnd(20) + (time === null ? 'failed' : `${time.toFixed(0)} ms`).padStart(13) + cells.join(''));
  }
  say('private, shared: memory of one process; of forkpoint’s, while two lived.');
}

function digest(text) {
  return createHash('sha256').update(text).digest('hex').slice(0, 12);
}
