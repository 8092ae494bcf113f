// Clients of a server that reforks and reloads, and one of whose workers is killed every second; then the server itself.
import { readFileSync } from 'node:fs';
import { setTimeout as pause } from 'node:timers/promises';
import { isWorker, page, tree } from './serve-processes.mjs';

const CLIENTS = 4;
/** A request counts as cut when it was under way while a worker was killed; that is seen late on a busy machine. */
const DYING_MS = 1000;
/** Around a refork: from a second before the image to a second after. */
const BLIP_MS = 1000;

/** Returns what clients met: under kills, reforks and a reload, and around one refork in peace. */
export async function measureServeLoad({ size, progress }, withServer) {
  progress(`load for ${size.seconds} s`);
  return await withServer(async (server) => {
    const blip = await aroundRefork(server, size);
    const kills = [];
    const seen = converse(server.port);
    const until = performance.now() + size.seconds * 1000;
    let isReloaded = false;
    while (performance.now() < until) {
      await pause(1000);
      const workers = tree(server.pid).filter(isWorker);
      const victim = workers[Math.floor(Math.random() * workers.length)];
      if (victim !== undefined && killed(victim)) kills.push(performance.now());
      if (!isReloaded && until - performance.now() < size.seconds * 500) process.kill(server.pid, 'SIGHUP');
      isReloaded ||= until - performance.now() < size.seconds * 500;
    }
    const { answers, failures } = await seen.end();
    const isCut = ({ from, to }) => kills.some((at) => at <= to && at + DYING_MS >= from);
    const left = await killServer(server);
    return {
      seconds: size.seconds,
      answers: answers.length,
      kills: kills.length,
      cut: failures.filter(isCut).length,
      failed: failures.filter((failure) => !isCut(failure)),
      left,
      ...blip,
    };
  });
}

/** The 99th percentile of all latencies, and of those around a refork, in milliseconds. */
async function aroundRefork({ port, pid, running }, { seconds }) {
  const seen = converse(port);
  await pause(seconds * 250);
  const images = (running.output().match(/was made from worker/g) ?? []).length;
  const asked = performance.now();
  process.kill(pid, 'SIGUSR2');
  let made;
  while (made === undefined && performance.now() - asked < 20_000) {
    await pause(20);
    if ((running.output().match(/was made from worker/g) ?? []).length > images) made = performance.now();
  }
  await pause(BLIP_MS + seconds * 50);
  const { answers, failures } = await seen.end();
  const end = made ?? performance.now();
  const isNear = ({ at }) => at >= asked - 200 && at <= Math.min(end, asked + BLIP_MS) + BLIP_MS;
  return {
    isReforked: made !== undefined,
    steadyMs: percentile(answers.filter((answer) => answer.at < asked - 200)),
    blipMs: percentile(answers.filter(isNear)),
    failedInPeace: failures,
  };
}

function percentile(answers) {
  const times = answers.map(({ ms }) => ms).toSorted((a, b) => a - b);
  return times[Math.floor(times.length * 0.99)] ?? Number.NaN;
}

/** Clients that ask again and again, until they are ended. */
function converse(port) {
  const answers = [];
  const failures = [];
  let isOver = false;
  const client = async () => {
    for (let number = 0; !isOver; number++) {
      const from = performance.now();
      try {
        const { ms } = await page(port, number);
        answers.push({ at: from + ms, ms });
      } catch (error) {
        failures.push({ from, to: performance.now(), message: error.message });
      }
      await pause(5);
    }
  };
  const clients = Array.from({ length: CLIENTS }, client);
  return {
    end: async () => {
      isOver = true;
      await Promise.all(clients);
      return { answers, failures };
    },
  };
}

/** Kills the server itself; returns how many of its processes are left after five seconds. */
async function killServer({ pid, running }) {
  const all = tree(pid).filter((one) => one !== pid);
  running.tell();
  process.kill(pid, 'SIGKILL');
  const until = performance.now() + 5000;
  let left = all;
  while (left.length > 0 && performance.now() < until) {
    await pause(50);
    left = left.filter(isThere);
  }
  return left.length;
}

/** Kills a process; returns false when it had ended before. */
function killed(pid) {
  try {
    return process.kill(pid, 'SIGKILL');
  } catch {
    // Its launcher was faster.
    return false;
  }
}

/** A zombie that nobody has waited for holds nothing any more. */
function isThere(pid) {
  try {
    return !/^\d+ \(.*\) [ZX]/s.test(readFileSync(`/proc/${pid}/stat`, 'utf8'));
  } catch {
    // It has ended.
    return false;
  }
}
