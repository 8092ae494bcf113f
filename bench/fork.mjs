// Children of a running warm server, beside every other way to have as many of them: `npm run bench -- fork`.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { interleave } from './driver.mjs';
import { measureForkLoad } from './fork-load.mjs';
import { ask, forkpoint, freePort, launch, machine, root, run, watch } from './processes.mjs';
import { prepareStock } from './stock.mjs';

/** Starts a program and looks after it. */
function start(child, why) {
  return Object.assign(watch(child, why), { child, end: () => process.kill(-child.pid, 'SIGKILL') });
}

const program = join(root, 'bench/programs/fork-app.cjs');
// Its own compiler for TypeScript is what the program starts with.
const node = join(root, 'node_modules/node24/bin/node');
const COUNT = 3;
const PARTS = ['starts', 'stalls', 'many', 'handover', 'load'];
const SIZES = {
  smoke: {
    peers: ['fork', 'floor'],
    rounds: 1,
    stalls: 1,
    many: 2,
    requests: [1],
    handovers: 1,
    load: { seconds: 1, connections: 10 },
  },
  quick: {
    rounds: 3,
    stalls: 5,
    many: 30,
    requests: [1, 100],
    handovers: 20,
    load: { seconds: 10, connections: 50 },
  },
  full: {
    rounds: 7,
    stalls: 15,
    many: 100,
    requests: [1, 100, 5000],
    handovers: 50,
    load: { seconds: 60, connections: 50 },
  },
};

/**
 * Runs the benchmark in a data directory in which set-up has been done.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', part?: string, progress?: (text: string) => void }} options
 */
export async function benchFork({ home, size = 'quick', part, progress = () => undefined }) {
  const parts = part?.split(',') ?? PARTS;
  const unknown = parts.find((name) => !PARTS.includes(name));
  if (unknown !== undefined) throw new Error(`fork has no part ${unknown}: it has ${PARTS.join(', ')}`);
  const scratch = mkdtempSync(join(home, 'bench-'));
  const env = { ...process.env, FORKPOINT_HOME: home, FORKPOINT_NODE: process.execPath };
  const bench = { home, env, scratch, size: SIZES[size], progress };
  try {
    progress('an image of the warm server');
    bench.image = await takeImage(bench);
    bench.floor = join(scratch, 'fork');
    run('cc', ['-O2', '-o', bench.floor, join(root, 'bench/programs/fork.c')]);
    const measure = {
      starts: measureStarts,
      stalls: measureStalls,
      many: measureMany,
      handover: measureHandover,
      load: async () => await measureForkLoad(bench, withParent),
    };
    const result = { size, machine: machine() };
    for (const name of PARTS.filter((one) => parts.includes(one))) result[name] = await measure[name](bench);
    return result;
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** Takes a plain image of a server that has answered, for stock CRIU, and a linked one. */
async function takeImage({ env, scratch }) {
  const name = `bench-${process.pid}`;
  const running = watch(launch([forkpoint, 'run', '--name', name, '--', node, program], env));
  const [, port] = await Promise.race([running.matches(/port (\d+)/), running.failed]);
  for (let i = 0; i < 200; i++) await ask(Number(port), `/item/${i}`);
  running.tell();
  run(forkpoint, ['checkpoint', name, join(scratch, 'plain'), '--no-link'], env);
  run(forkpoint, ['checkpoint', name, join(scratch, 'image'), '--stop'], env);
  await running.ended;
  return join(scratch, 'image');
}

/** Has a parent that was restored from a linked image, and ends it. */
async function withParent({ env, image }, work) {
  const child = JSON.parse(
    run(forkpoint, ['restore', image, '-d', '--json', '--listen', `${slotOf(image)}=127.0.0.1:0`], env),
  );
  const port = Number(/\d+$/.exec(child.slots.find(({ address }) => address !== undefined).address)[0]);
  try {
    await ask(port, '/item/7');
    return await work(port, child);
  } finally {
    run(forkpoint, ['kill', child.id, '--signal', 'KILL'], env);
  }
}

function slotOf(image) {
  const { slots } = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8'));
  return slots.find(({ kind }) => kind === 'tcp').id;
}

async function fork(port, count) {
  return JSON.parse(await ask(port, `/fork/${count}`));
}

/** Three servers that have answered one request each, from the word on. */
async function measureStarts(bench) {
  const { env, floor, size, progress } = bench;
  const ms = async (work) => {
    const from = performance.now();
    await work();
    return performance.now() - from;
  };
  return await withParent(bench, async (parent) => {
    // The first fork of a parent makes what later ones share.
    await fork(parent, 1);
    await ask(parent, '/end');
    const peers = {
      fork: async () => {
        const took = await ms(async () => await served((await fork(parent, COUNT)).ports));
        await ask(parent, '/end');
        return { ms: took };
      },
      cold: async () => await cold(ms),
      process: async () => await others('process', ms),
      cluster: async () => await others('cluster', ms),
      stock: async () => await stock(bench, ms),
      floor: async () => ({ ms: Number(run(floor, [String(COUNT), '64'], env)) / 1000 }),
    };
    const chosen = Object.entries(peers).filter(([name]) => size.peers?.includes(name) ?? true);
    return await interleave(Object.fromEntries(chosen), size.rounds, progress);
  });
}

async function served(ports) {
  const answers = await Promise.all(ports.map((port) => ask(port, '/item/7')));
  if (new Set(answers).size !== 1 || !answers[0].includes('item 7'))
    throw new Error(`other answers: ${answers}`);
}

async function cold(ms) {
  const servers = [];
  const took = await ms(async () => {
    for (let i = 0; i < COUNT; i++) servers.push(start(launch([node, program], process.env)));
    await served(await Promise.all(servers.map(portOf)));
  });
  await end(servers);
  return { ms: took };
}

/** A running parent that starts others by child_process.fork or node:cluster. */
async function others(kind, ms) {
  const child = spawn(node, [program, kind, String(COUNT)], { stdio: 'pipe', detached: true });
  const parent = start(child);
  await Promise.race([parent.matches(/ready/), parent.failed]);
  const took = await ms(async () => {
    child.stdin.write('go\n');
    await Promise.race([parent.matches(/(port \d+[^]*){3}/), parent.failed]);
    await served([...parent.output().matchAll(/port (\d+)/g)].map((match) => Number(match[1])));
  });
  await end([parent]);
  return { ms: took };
}

async function stock({ home, scratch }, ms) {
  const ports = await Promise.all(Array.from({ length: COUNT }, freePort));
  const prepared = [];
  for (const port of ports) prepared.push(await prepareStock({ home, image: join(scratch, 'plain'), port }));
  const running = [];
  const took = await ms(async () => {
    for (const one of prepared) running.push(start(one.start(), one.log));
    await served(ports);
  });
  await end(running);
  for (const one of prepared) one.remove();
  return { ms: took };
}

async function portOf(server) {
  const [, port] = await Promise.race([server.matches(/port (\d+)/), server.failed]);
  return Number(port);
}

async function end(servers) {
  for (const server of servers) {
    server.tell();
    server.end();
  }
  await Promise.all(servers.map(({ ended }) => ended));
}

/**
 * How long the parent does not run, beside the time that CRIU froze it, with more and more memory that has changed: of a parent
 * that was restored from a linked image, and of one that was started like any program, all of whose memory has to be written.
 */
async function measureStalls(bench) {
  const linked = 'of a parent that was restored from a linked image';
  const ordinary = 'of a parent that was started as usual';
  return [
    ...(await withParent(bench, async (port, { id }) => await stallsOf(bench, port, id, linked))),
    ...(await withOrdinary(bench, async (port, id) => await stallsOf(bench, port, id, ordinary))),
  ];
}

async function stallsOf({ home, size }, port, id, kind) {
  const samples = [];
  await fork(port, 1);
  for (let i = 0; i < size.stalls; i++) {
    for (const dirtyMb of [0, 5, 50]) {
      await ask(port, `/dirty/${dirtyMb}`);
      const { stallMs } = await fork(port, 1);
      samples.push({ kind, dirtyMb, stallMs, frozenMs: frozenBy(home, id) });
      await ask(port, '/end');
    }
  }
  return samples;
}

/** Has a parent that was never restored, and ends it. */
async function withOrdinary({ env }, work) {
  const name = `bench-ordinary-${process.pid}`;
  const running = watch(launch([forkpoint, 'run', '--name', name, '--', node, program], env));
  const [, port] = await Promise.race([running.matches(/port (\d+)/), running.failed]);
  try {
    for (let i = 0; i < 200; i++) await ask(Number(port), `/item/${i}`);
    const all = JSON.parse(run(forkpoint, ['ps', '--json'], env));
    return await work(Number(port), all.find((one) => one.name === name).id);
  } finally {
    running.tell();
    run(forkpoint, ['kill', name, '--signal', 'KILL'], env);
    await running.ended;
  }
}

/** What the worker has noted of the last fork of a run. */
function frozenBy(home, id) {
  const log = readFileSync(join(home, 'runs', id, 'launcher.log'), 'utf8');
  return Number([...log.matchAll(/froze the program for ([\d.]+) ms/g)].at(-1)[1]);
}

/** Many children at the same time, all answering: time and memory beside plain servers. */
async function measureMany(bench) {
  const { size, env, progress } = bench;
  progress(`${size.many} children`);
  return await withParent(bench, async (parent) => {
    const from = performance.now();
    const { ports, ids } = await fork(parent, size.many);
    await served(ports);
    const ms = performance.now() - from;
    const cold = Math.min(10, size.many);
    const coldFrom = performance.now();
    const servers = Array.from({ length: cold }, () => start(launch([node, program], process.env)));
    await served(await Promise.all(servers.map(portOf)));
    const coldMs = performance.now() - coldFrom;
    const plainMb = servers.reduce((sum, { child }) => sum + pssOf(child.pid), 0) / cold;
    await end(servers);
    const all = JSON.parse(run(forkpoint, ['ps', '--json'], env));
    const pids = all.filter(({ id }) => ids.includes(id)).map(({ hostPid }) => hostPid);
    const memory = [{ requests: 0, mb: meanPss(pids) }];
    let done = 1;
    for (const requests of size.requests) {
      // A few of them, or it would take long.
      const some = ports.slice(0, 4);
      for (; done < requests; done++) await Promise.all(some.map((port) => ask(port, `/item/${done}`)));
      memory.push({ requests, mb: meanPss(pids.slice(0, 4)) });
    }
    await ask(parent, '/end');
    return { count: size.many, ms, cold, coldMs, plainMb, memory };
  });
}

function meanPss(pids) {
  return pids.reduce((sum, pid) => sum + pssOf(pid), 0) / pids.length;
}

function pssOf(pid) {
  const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
  return Number(/^Pss:\s+(\d+) kB$/m.exec(rollup)[1]) / 1024;
}

/** A parked clone's first answer from `acquire` on, beside a restore by stock CRIU and one message to a live process. */
async function measureHandover({ scratch, env, home, size }) {
  const pooled = join(scratch, 'handover');
  run(forkpoint, ['run', '--', node, join(root, 'bench/programs/handover.cjs'), pooled], env);
  const { createPool } = await import('../packages/forkpoint/dist/host.mjs');
  const pool = await createPool({ image: pooled, home, size: 2 });
  const samples = [];
  try {
    for (let i = 0; i < size.handovers; i++) {
      await pool.ready();
      // What the refill leaves behind shall not be measured.
      await pause(100);
      const from = performance.now();
      const clone = await pool.acquire({ args: [String(i)] });
      await once(clone.stdout);
      const handoverMs = performance.now() - from;
      const turns = [];
      for (let turn = 0; turn < 20; turn++) {
        const asked = performance.now();
        clone.stdin.write('ping\n');
        await once(clone.stdout);
        turns.push(performance.now() - asked);
      }
      clone.kill('SIGKILL');
      await clone.wait();
      samples.push({ handoverMs, pipeMs: turns.toSorted((a, b) => a - b)[10], wasParked: clone.wasParked });
    }
  } finally {
    await pool.close();
  }
  const stockMs = [];
  for (let i = 0; i < Math.min(5, size.handovers); i++) {
    const port = await freePort();
    const one = await prepareStock({ home, image: join(scratch, 'plain'), port });
    const from = performance.now();
    const running = start(one.start(), one.log);
    await served([port]);
    stockMs.push(performance.now() - from);
    await end([running]);
    one.remove();
  }
  return { samples, stockMs };
}

function once(stream) {
  return new Promise((resolve) => stream.once('data', resolve));
}
