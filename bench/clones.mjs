// Memory: many clones of one warm server beside as many servers started the usual way, idle; and what clones come to own as
// they answer requests. PSS counts a page that n processes share as 1/n for each (proc(5), smaps_rollup).
import { createHash } from 'node:crypto';
import { readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { ask, forkpoint, launch, root, run, watch } from './processes.mjs';

const program = join(root, 'bench/programs/page-server.cjs');
const LIMIT_MS = 200_000;
/** Servers that answer requests. */
const BUSY = 4;

/**
 * Measures memory per process, idle and after requests, of plain servers and of clones with new randomness.
 * @param {{ home: string, scratch: string, size: { clones: number, heapMb: number, growth: number[], warm: number }, progress: (text: string) => void }} options
 */
export async function measureClones({ home, scratch, size, progress }) {
  const env = {
    ...process.env,
    FORKPOINT_HOME: home,
    FORKPOINT_NODE: process.execPath,
    PORT: '0',
    BENCH_MB: String(size.heapMb),
  };
  const bench = { home, env, image: join(scratch, 'image'), warm: size.warm };
  const { clones, heapMb, growth } = size;
  progress('taking the image');
  await takeImage(bench);
  const kinds = { plain: startPlain, clones: startClone };
  const result = { clones, heapMb, idle: {}, growth: {}, hashes: new Set() };
  for (const [kind, start] of Object.entries(kinds)) {
    progress(`${clones} servers, ${kind}`);
    result.idle[kind] = await together(bench, clones, start, async (servers) => {
      const memory = await settled(servers);
      await hashAnswers(servers, result.hashes);
      return memory;
    });
    if (growth.length === 0) continue;
    progress(`${BUSY} servers that answer, ${kind}`);
    result.growth[kind] = await together(
      bench,
      BUSY,
      start,
      async (servers) => await growing(servers, growth),
    );
  }
  if (result.hashes.size > 1)
    throw new Error('the answers differ: a measurement of something else than the same program');
  return { ...result, hashes: [...result.hashes] };
}

async function takeImage({ env, image, warm }) {
  const name = `bench-${process.pid}`;
  const running = watch(
    launch([forkpoint, 'run', '--name', name, '--', process.execPath, program], env),
    undefined,
    LIMIT_MS,
  );
  const [, port] = await Promise.race([running.matches(/listening on http:\S+:(\d+)/), running.failed]);
  // A server that nobody has asked yet gets half of its memory ready at its first requests.
  for (let i = 0; i < warm; i++) await ask(Number(port), `/page/${i}`);
  running.tell();
  run(forkpoint, ['checkpoint', name, image, '--stop'], env, LIMIT_MS);
  await running.ended;
}

/** Starts that many servers one after the other, measures, and ends them. */
async function together(bench, count, start, measure) {
  const servers = [];
  try {
    for (let i = 0; i < count; i++) servers.push(await start(bench));
    return await measure(servers);
  } finally {
    await Promise.all(servers.map(({ end }) => end()));
  }
}

async function startPlain({ env }) {
  const child = launch([process.execPath, program], env);
  const running = watch(child, undefined, LIMIT_MS);
  const [, port] = await Promise.race([running.matches(/listening on http:\S+:(\d+)/), running.failed]);
  const end = async () => {
    running.tell();
    child.kill('SIGKILL');
    await running.ended;
  };
  return { pids: [child.pid], port: Number(port), end };
}

/** The clone's processes are the program and its launcher, which both count. */
async function startClone({ home, env, image }) {
  const manifest = JSON.parse(readFileSync(join(image, 'manifest.json'), 'utf8'));
  const { id: slot } = manifest.slots.find(({ kind }) => kind === 'tcp');
  const text = run(forkpoint, ['restore', image, '-d', '--json', '--listen', `${slot}=127.0.0.1:0`], env);
  const { id, launcherPid, slots } = JSON.parse(text);
  const port = Number(slots.find((one) => one.id === slot).address.replace(/^.*:/, ''));
  const program_ = Number(
    readFileSync(`/proc/${launcherPid}/task/${launcherPid}/children`, 'utf8').split(' ')[0],
  );
  const directory = join(home, 'runs', id);
  const end = async () => {
    process.kill(launcherPid, 'SIGTERM');
    for (const deadline = Date.now() + LIMIT_MS; isRunning(directory) && Date.now() < deadline;)
      await pause(5);
    rmSync(directory, { recursive: true, force: true });
  };
  return { pids: [program_, launcherPid], port, end };
}

function isRunning(directory) {
  return readFileSync(join(directory, 'state'), 'utf8').startsWith('running');
}

/** Memory per server once two looks, a second apart, see nearly the same. */
async function settled(servers) {
  let last = perServer(servers);
  for (let looks = 0; looks < 60; looks++) {
    await pause(1000);
    const now = perServer(servers);
    if (Math.abs(now.pssMb - last.pssMb) <= 0.01 * last.pssMb) return now;
    last = now;
  }
  throw new Error('the memory of idle servers keeps growing');
}

/** Memory per server after so many requests to each. */
async function growing(servers, steps) {
  const found = {};
  let asked = 0;
  for (const step of steps) {
    for (; asked < step; asked++) await Promise.all(servers.map(({ port }) => ask(port, `/page/${asked}`)));
    found[step] = await settled(servers);
  }
  return found;
}

/** What a server says may not depend on how it was started. */
async function hashAnswers(servers, hashes) {
  for (const { port } of servers) {
    const answer = await ask(port, '/page/7');
    hashes.add(createHash('sha256').update(answer).digest('hex').slice(0, 16));
  }
}

/** Mean PSS, memory that nobody shares, and page tables of the servers, in megabytes. */
function perServer(servers) {
  const sum = { pssMb: 0, privateMb: 0, tablesMb: 0 };
  for (const pid of servers.flatMap(({ pids }) => pids)) {
    const rollup = readFileSync(`/proc/${pid}/smaps_rollup`, 'utf8');
    const status = readFileSync(`/proc/${pid}/status`, 'utf8');
    const of = (text, key) => Number(new RegExp(`^${key}:\\s+(\\d+) kB`, 'm').exec(text)?.[1] ?? 0) / 1024;
    sum.pssMb += of(rollup, 'Pss');
    sum.privateMb += of(rollup, 'Private_Dirty') + of(rollup, 'Private_Clean');
    sum.tablesMb += of(status, 'VmPTE');
  }
  return Object.fromEntries(Object.entries(sum).map(([key, total]) => [key, total / servers.length]));
}
