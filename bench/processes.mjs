// What the benchmarks share: starting programs and looking after them, and the facts that are printed beside the figures.
import { spawn, spawnSync } from 'node:child_process';
import { constants, openSync, readdirSync, readFileSync, statSync } from 'node:fs';
import { request } from 'node:http';
import { Socket } from 'node:net';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';

export { freePort } from '../scripts/lib/port.mjs';

/** The checkout, and the command of this checkout. */
export const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
export const forkpoint = join(root, 'bin/forkpoint');
/** Longest life of a child and longest wait for an answer, in milliseconds. */
export const LIMIT_MS = 100_000;

/** Returns an object with every value changed. */
export function mapped(object, change) {
  return Object.fromEntries(Object.entries(object).map(([name, value]) => [name, change(value)]));
}

/** Process groups that must not outlive this one. */
const groups = new Set();
process.once('exit', () => {
  for (const group of groups) endGroup(group);
});

function endGroup(group) {
  try {
    process.kill(-group, 'SIGKILL');
  } catch {
    // It has ended.
  }
}

/** Starts a command in a process group of its own, its output in pipes. */
export function launch([file, ...args], env) {
  return spawn(file, args, { cwd: root, env, stdio: ['ignore', 'pipe', 'pipe'], detached: true });
}

/**
 * Looks after a child: its output (`matches` resolves with a pattern's match), its end, and a failure when it ends before it
 * was told to.
 */
export function watch(child, why = () => '', limitMs = LIMIT_MS) {
  let output = '';
  let told = false;
  const checks = new Set();
  const take = (chunk) => {
    output = (output + chunk).slice(-65_536);
    for (const check of checks) check();
  };
  const matches = (pattern) =>
    new Promise((resolve) => {
      const check = () => pattern.test(output) && resolve(pattern.exec(output));
      checks.add(check);
      check();
    });
  child.stdout.on('data', take);
  child.stderr.on('data', take);
  groups.add(child.pid);
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', (code) => resolve(code));
  });
  const timer = setTimeout(() => endGroup(child.pid), limitMs);
  const failed = ended.then((code) => {
    clearTimeout(timer);
    groups.delete(child.pid);
    if (told) return;
    throw new Error(`${child.spawnargs.slice(0, 4).join(' ')} ... ended with ${code}: ${output}${why()}`);
  });
  // Whoever waits for it gets the error; nobody has to wait.
  failed.catch(() => undefined);
  return { ended, failed, matches, output: () => output, tell: () => (told = true) };
}

/** Opens the FIFO; `line` resolves when something has been written to it. */
export function firstLine(fifo) {
  const { first, close } = readFifo(fifo);
  return { line: first.then(close) };
}

/** Opens a FIFO for reading. `first` resolves when something has been written, `text(pattern)` with the match of all that was. */
export function readFifo(fifo) {
  const socket = new Socket({
    fd: openSync(fifo, constants.O_RDWR | constants.O_NONBLOCK),
    readable: true,
    writable: false,
  });
  let all = '';
  const failed = new Promise((_, reject) => socket.once('error', reject));
  // The same.
  failed.catch(() => undefined);
  const first = new Promise((resolve) => socket.once('data', () => resolve()));
  socket.on('data', (chunk) => (all += chunk));
  const text = (pattern) =>
    new Promise((resolve) => {
      const check = () => pattern.test(all) && resolve(pattern.exec(all));
      socket.on('data', check);
      check();
    });
  return {
    first: Promise.race([first, failed]),
    text: (pattern) => Promise.race([text(pattern), failed]),
    close: () => void socket.destroy(),
  };
}

/** Returns the body of an answer; from a connection of its own, when no agent keeps one. Throws when the status is an error. */
export function ask(port, path, agent = false) {
  return new Promise((resolve, reject) => {
    const options = { host: '127.0.0.1', port, path, agent, timeout: LIMIT_MS };
    const asking = request(options, (response) => {
      let body = '';
      response
        .setEncoding('utf8')
        .on('data', (text) => (body += text))
        .on('end', () => {
          if (response.statusCode < 400) resolve(body);
          else reject(new Error(`${path} was answered with ${response.statusCode}: ${body}`));
        });
    });
    asking
      .on('error', (error) => reject(new Error(`no answer from ${path}: ${error.message}`, { cause: error })))
      .on('timeout', () => asking.destroy(new Error(`no answer from ${path}`)))
      .end();
  });
}

/** How long CRIU took, its start included, in the one run that was not there before. */
export function criuTime(home, before) {
  const [id] = readdirSync(join(home, 'runs')).filter((name) => !before.has(name));
  const log = readFileSync(join(home, 'runs', id, 'launcher.log'), 'utf8');
  return Number(/CRIU took (\d+) us/.exec(log)?.[1]) / 1000;
}

/** Runs a command to its end and returns what it printed; throws with its words when it fails. */
export function run(file, args, env = process.env, limitMs = LIMIT_MS) {
  const options = { encoding: 'utf8', env, cwd: root, timeout: limitMs };
  const { status, stdout, stderr, error } = spawnSync(file, args, options);
  if (status !== 0) throw new Error(`${file} ${args[0]} failed: ${error?.message ?? stderr}`);
  return stdout;
}

/** Returns the paths of all regular files below a directory. */
export function namesIn(directory) {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => join(directory, name))
    .filter((path) => statSync(path).isFile());
}

/** Bytes of all files below a directory. */
export function sizeOf(directory) {
  return namesIn(directory).reduce((sum, path) => sum + statSync(path).size, 0);
}

/** Says what the figures were taken on. */
export function machine() {
  const cpus = readFileSync('/proc/cpuinfo', 'utf8').match(/^processor/gm)?.length ?? 0;
  return `${cpus} processors, Linux ${readFileSync('/proc/sys/kernel/osrelease', 'utf8').trim()}, Node ${process.version}, load ${readFileSync('/proc/loadavg', 'utf8').split(' ')[0]}`;
}
