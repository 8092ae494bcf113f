// The tour of `npm start`: a warm server and a counter, checkpointed and restored, with the commands a person would type.
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { prepareStock } from '../../bench/stock.mjs';
import {
  ended,
  firstAnswer,
  freePort,
  heading,
  median,
  page,
  root,
  say,
  Stage,
  TourError,
} from './stage.mjs';

const PATHS = ['/item/7', '/search/lamp', '/search/green', '/item/39999'];
const WARM_REQUESTS = 1500;
const ROUNDS = 3;

/** Runs the tour and returns the exit code. Everything that it starts has ended when it returns. */
export async function tour() {
  const stage = new Stage();
  const interrupt = () => {
    stage.end();
    process.exit(130);
  };
  for (const signal of ['SIGINT', 'SIGTERM', 'SIGHUP']) process.once(signal, interrupt);
  try {
    const figures = await serverScene(stage);
    await counterScene(stage);
    showTable(figures);
    say(`\nThe images lie in ${stage.directory}. Next: bin/forkpoint --help, README.md`);
    return 0;
  } catch (error) {
    if (!(error instanceof TourError)) throw error;
    process.stderr.write(
      `\nError: ${error.message}\nHint: \`bin/forkpoint doctor\` looks at what this machine can do\n`,
    );
    return 1;
  } finally {
    stage.end();
  }
}

async function serverScene(stage) {
  const port = await freePort();
  const env = { PORT: String(port) };
  heading('1. A Fastify server that knows nothing of forkpoint');
  const cold = [];
  for (let round = 0; round < ROUNDS; round++) cold.push(await coldStart(stage, port));
  say(
    `Started cold, its first answer takes ${median(cold).toFixed(0)} ms. Now in a pod, warmed with ${WARM_REQUESTS} requests:`,
  );
  await stage.command('forkpoint run -d --name shop -- node "$EXAMPLES"/server.cjs', { env });
  const answers = new Map();
  for (const path of PATHS) answers.set(path, await firstAnswer(port, path));
  for (let i = 0; i < WARM_REQUESTS; i++) await page(port, PATHS[i % PATHS.length]);
  await page(port, '/hits');
  await stage.command('forkpoint checkpoint shop ./warm --stop');

  heading('2. Restored: the same answers, byte for byte');
  const ours = [];
  for (let round = 0; round < ROUNDS; round++) {
    ours.push(await restoredAnswer(stage, port, answers, round === 0));
  }
  say(
    `${PATHS.length} pages are as they were before, and the first one came after ${median(ours).toFixed(0)} ms.`,
  );

  heading('3. Two clones at once on one machine, with different random values');
  const other = await freePort();
  await stage.command('forkpoint restore ./warm -d --name one');
  await stage.command(`forkpoint restore ./warm -d --name two --listen ${port}=${other}`);
  const randoms = [];
  for (const [name, where] of [
    ['one', port],
    ['two', other],
  ]) {
    const random = await page(where, '/random');
    const { hits } = JSON.parse(await page(where, '/hits'));
    say(`${name} on port ${where}: hits ${hits}, random ${random}`);
    randoms.push(random);
    if (hits !== 2) throw new TourError(`clone ${name} should go on at 2 hits and is at ${hits}`);
  }
  if (randoms[0] === randoms[1]) throw new TourError('two clones drew the same random values');
  await stage.command('forkpoint ps');
  const memory = JSON.parse(stage.ask('ps', '--json')).find(({ name }) => name === 'two').memory;
  for (const name of ['one', 'two']) {
    await stage.command(`forkpoint kill ${name}`);
    await stage.command(`forkpoint wait ${name}`, { mayFail: true });
  }
  const stock = await stockStart(stage, port, answers);
  return {
    cold: median(cold),
    stock,
    ours: median(ours),
    memory,
    image: sizeOf(join(stage.directory, 'warm')),
  };
}

async function coldStart(stage, port) {
  const started = performance.now();
  const child = stage.spawn(process.execPath, [join(root, 'examples/server.cjs')], {
    env: { PORT: String(port) },
  });
  await firstAnswer(port, PATHS[0]);
  const time = performance.now() - started;
  child.kill('SIGKILL');
  await ended(child);
  return time;
}

async function restoredAnswer(stage, port, answers, isShown) {
  if (isShown) say('$ forkpoint restore ./warm');
  const started = performance.now();
  const child = stage.spawn(join(root, 'bin/forkpoint'), ['restore', './warm']);
  const first = await firstAnswer(port, PATHS[0]);
  const time = performance.now() - started;
  if (first !== answers.get(PATHS[0]))
    throw new TourError(`the restored server answers ${PATHS[0]} differently`);
  for (const path of PATHS) {
    if ((await page(port, path)) !== answers.get(path))
      throw new TourError(`the restored server answers ${path} differently`);
  }
  child.kill('SIGTERM');
  await ended(child);
  return time;
}

/** The same image by plain `criu restore` and util-linux; null where these tools do not get that far. */
async function stockStart(stage, port, answers) {
  const image = join(stage.directory, 'plain');
  stage.env.PORT = String(port);
  stage.ask('run', '-d', '--name', 'plain', '--', process.execPath, join(root, 'examples/server.cjs'));
  await firstAnswer(port, PATHS[0]);
  for (let i = 0; i < WARM_REQUESTS; i++) await page(port, PATHS[i % PATHS.length]);
  stage.ask('checkpoint', 'plain', image, '--stop', '--no-link');
  const times = [];
  for (let round = 0; round < ROUNDS; round++) {
    const stock = await prepareStock({ home: stage.home, image, port });
    const started = performance.now();
    const child = stock.start();
    stage.children.add(child);
    let time = null;
    const isOver = ended(child);
    const first = await Promise.race([firstAnswer(port, PATHS[0]), isOver.then(() => null)]);
    if (first === answers.get(PATHS[0])) time = performance.now() - started;
    try {
      process.kill(-child.pid, 'SIGKILL');
    } catch {
      // It has ended: the restore failed.
    }
    await isOver;
    stage.children.delete(child);
    stock.remove();
    if (time === null) return null;
    times.push(time);
  }
  return median(times);
}

async function counterScene(stage) {
  heading('4. A counter that checkpoints itself, each time to another directory');
  await stage.command('forkpoint run --to ./img1 -- node "$EXAMPLES"/counter.mjs');
  await stage.command('forkpoint restore ./img1 --to ./img2');
  await stage.command('forkpoint restore ./img2');
  heading('5. An impossible directory: an exception in the program, which goes on counting');
  const output = await stage.command('forkpoint run -- node "$EXAMPLES"/counter.mjs /proc/impossible/img');
  if (!/CheckpointException/.test(output) || !/line 10/.test(output)) {
    throw new TourError('the counter should have had an exception and gone on to line 10');
  }
}

function showTable({ cold, stock, ours, memory, image }) {
  heading('The warm server in figures (medians of three on this machine)');
  const ms = (value) => (value === null ? 'not available' : `${value.toFixed(0)} ms`);
  const mb = (bytes) => `${(bytes / 1e6).toFixed(1)} MB`;
  const rows = [
    ['first answer, started cold', ms(cold)],
    ['first answer, plain criu restore', ms(stock)],
    ['first answer, forkpoint restore', ms(ours)],
    ['size of the image', mb(image)],
    ['memory of one clone of two, private', mb(memory.privateBytes)],
    ['memory of one clone of two, shared', mb(memory.sharedBytes)],
  ];
  for (const [name, value] of rows) say(`${name.padEnd(40)}${value.padStart(14)}`);
}

function sizeOf(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(directory, name)))
    .reduce((sum, status) => sum + (status.isFile() ? status.size : 0), 0);
}
