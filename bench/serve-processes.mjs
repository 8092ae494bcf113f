// What the benchmark of forkpoint serve asks of servers and their processes.
import { readdirSync, readFileSync } from 'node:fs';
import { get } from 'node:http';

/** Gets a page on a connection of its own. */
export async function page(port, number, agent = false) {
  const from = performance.now();
  return await new Promise((resolve, reject) => {
    const asked = get(
      { host: '127.0.0.1', port, path: `/page/${number}`, agent, timeout: 20_000 },
      (response) => {
        response.resume();
        response.once('error', reject);
        response.once('end', () => {
          const { 'x-worker': worker, 'x-count': count } = response.headers;
          resolve({ worker, count: Number(count), ms: performance.now() - from });
        });
      },
    );
    asked.once('timeout', () => asked.destroy(new Error('no answer in time')));
    asked.once('error', reject);
  });
}

/** Returns a process and all below it. */
export function tree(pid) {
  const pids = [pid];
  for (let at = 0; at < pids.length; at++) {
    for (const thread of listed(`/proc/${pids[at]}/task`))
      pids.push(...read(`/proc/${pids[at]}/task/${thread}/children`).split(' ').filter(Boolean).map(Number));
  }
  return pids;
}

/** Whether a process runs the program and is not the one that leads: it has no children, and is no launcher. */
export function isWorker(pid) {
  const isLauncher = /launcher|criu/.test(read(`/proc/${pid}/cmdline`).split('\0')[0]);
  return !isLauncher && tree(pid).length === 1;
}

/** Returns the sum of their PSS in bytes. */
export function pssOf(pids) {
  return pids.reduce(
    (sum, pid) => sum + Number(/^Pss:\s+(\d+) kB/m.exec(read(`/proc/${pid}/smaps_rollup`))?.[1] ?? 0) * 1024,
    0,
  );
}

/** Returns the processor time that they have used, in seconds. */
export function cpuOf(pids) {
  return pids.reduce((sum, pid) => {
    const stat = read(`/proc/${pid}/stat`);
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return sum + (Number(fields[11] ?? 0) + Number(fields[12] ?? 0)) / 100;
  }, 0);
}

function read(path) {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // It has ended.
    return '';
  }
}

function listed(path) {
  try {
    return readdirSync(path);
  } catch {
    // The same.
    return [];
  }
}
