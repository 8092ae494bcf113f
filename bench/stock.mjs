// The comparison: an image restored by plain `criu restore`, in namespaces made by unshare(1), without forkpoint's
// launcher: what anybody can do with CRIU and a shell. No checks, no supervision, no terminal, no next checkpoint.
import { spawn, spawnSync } from 'node:child_process';
import { closeSync, existsSync, mkdirSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const script = fileURLToPath(new URL('stock.sh', import.meta.url));
// Numbers above those that shells take for themselves.
// CRIU closes a number once it has taken it, so that each is used once.
const NUMBERS = { stdin: 20, stdout: 21, stderr: 22, tcp: 23 };

/** Returns the records of a plan (ARCHITECTURE.md, "Plans") as [key, fields]. */
export function readPlan(path) {
  const strings = readFileSync(path, 'utf8').split('\0');
  const records = [];
  for (let at = 0; at + 1 < strings.length;) {
    const head = strings[at++];
    const colon = head.lastIndexOf(':');
    const count = Number(head.slice(colon + 1));
    records.push([head.slice(0, colon), strings.slice(at, at + count)]);
    at += count;
  }
  return records;
}

/**
 * Prepares a restore of an image whose program listens on one port, or on none, for one call of `start`. `start(prefix)` spawns it, in
 * a process group of its own, and returns the child, which ends when the program does; `remove()` comes after that.
 * Everything that a user could have prepared beforehand is done here, outside the stopwatch.
 * @param {{ home: string, image: string, port?: number }} options home is the data directory
 */
export async function prepareStock({ home, image, port }) {
  const plan = readPlan(join(image, 'restore.plan'));
  const of = (key) => plan.find(([name]) => name === key)?.[1] ?? [];
  const [[, criu]] = readPlan(join(home, 'engine/engine.plan')).filter(([key]) => key === 'criu');
  const work = mkdtempSync(join(home, 'stock-'));
  const fifo = makeControlDirectory(join(work, 'ctl'), of('member'), of('blocked')[0]);
  mkdirSync(of('ctl')[0], { recursive: true, mode: 0o700 });
  const listener = port === undefined ? undefined : await listen(port);
  const input = openSync('/dev/null', 'r+');
  const output = openSync(join(work, 'output'), 'a');
  const stdio = Array.from({ length: 24 }, () => 'ignore');
  stdio.splice(1, 2, 'pipe', 'pipe');
  stdio.splice(NUMBERS.stdin, 4, input, output, output, listener?._handle.fd ?? 'ignore');
  const slots = plan.filter(([key]) => key === 'slot');
  const inherited = slots.flatMap(([, [, kind, key]]) => ['--inherit-fd', `fd[${NUMBERS[kind]}]:${key}`]);
  const command = [
    ...[...criu, 'restore', '--unprivileged', '-D', image, '-W', work, '-o', 'restore.log', '-v2'],
    ...['--tcp-close', '--skip-in-flight', ...of('criu'), ...inherited],
  ];
  const line = JSON.stringify({
    v: 1,
    outcome: 'restored',
    id: 'stock',
    image,
    parentId: of('origin')[0],
    generation: 1,
    index: null,
    args: [],
    env: {},
    cwd: null,
    elapsedMs: 0,
    reseed: true,
  });
  return {
    start: (prefix = []) => {
      const [file, ...args] = [
        ...prefix,
        ...namespaces(of('clock')),
        'sh',
        script,
        join(work, 'ctl'),
        of('ctl')[0],
        fifo ?? '-',
        line,
        ...command,
      ];
      const env = { ...process.env, XDG_RUNTIME_DIR: existsSync('/dev/shm') ? kernelCache() : '' };
      const child = spawn(file, args, { stdio, env, detached: true });
      listener?.close();
      return child;
    },
    log: () => readFileSync(join(work, 'restore.log'), 'utf8'),
    remove: () => {
      for (const fd of [input, output]) closeSync(fd);
      rmSync(work, { recursive: true, force: true });
    },
  };
}

function makeControlDirectory(ctl, members, blocked) {
  const fifos = ['request', 'outcome', 'assign', ...(blocked === undefined ? [] : [blocked])];
  mkdirSync(join(ctl, 'members'), { recursive: true, mode: 0o700 });
  for (const pid of members) {
    mkdirSync(join(ctl, 'members', pid), { mode: 0o700 });
    fifos.push(`members/${pid}/outcome`, `members/${pid}/park`);
  }
  const paths = [...new Set(fifos)].map((name) => join(ctl, name));
  const { status, stderr } = spawnSync('mkfifo', ['-m', '600', ...paths], { encoding: 'utf8' });
  if (status !== 0) throw new Error(`mkfifo failed: ${stderr}`);
  return blocked;
}

/** The namespaces of a pod by util-linux, with the clocks where the program last saw them (whole seconds). */
function namespaces([seconds, , bootSeconds]) {
  const monotonic = Number(seconds) - process.hrtime()[0];
  const boottime =
    Number(bootSeconds) - Math.floor(Number(readFileSync('/proc/uptime', 'utf8').split(' ')[0]));
  const own = [
    '--user',
    '--map-current-user',
    '--pid',
    '--mount',
    '--uts',
    '--ipc',
    '--fork',
    '--mount-proc',
    '--kill-child',
  ];
  const clocks = ['--time', `--monotonic=${monotonic + 1}`, `--boottime=${boottime + 1}`];
  // CRIU may not have these two where only one user is mapped: it would try to use them.
  const without = '-setuid,-setgid';
  return [
    'unshare',
    ...own,
    '--keep-caps',
    ...clocks,
    'setpriv',
    '--ambient-caps',
    without,
    '--inh-caps',
    without,
  ];
}

/** The directory in which forkpoint lets CRIU keep what it found out about the kernel: it saves stock CRIU as much. */
function kernelCache() {
  const path = `/dev/shm/forkpoint-${process.getuid()}`;
  mkdirSync(path, { recursive: true, mode: 0o700 });
  return path;
}

/** A listening socket. Tries again for 5 s: the program that had the port before may just be ending. */
async function listen(port) {
  const deadline = Date.now() + 5000;
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        const server = createServer();
        server.once('error', reject);
        server.listen(port, '127.0.0.1', () => resolve(server));
      });
    } catch (error) {
      if (error.code !== 'EADDRINUSE' || Date.now() > deadline) throw error;
      await pause(20);
    }
  }
}
