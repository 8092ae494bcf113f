// What the tour's scenes share: commands shown as a person would type them, what they started, and its end.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { get } from 'node:http';
import { createServer } from 'node:net';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataDirectory } from '../setup.mjs';

export const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const isTerminal = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (isTerminal ? `\x1b[${code}m${text}\x1b[0m` : text);
const LIMIT_MS = 60_000;

export const say = (text = '') => console.log(text);
export const heading = (text) => say(`\n${paint(1, text)}`);

/** Something in the tour did not go as it must. */
export class TourError extends Error {}

/** The directory of the tour, its environment, and everything that it has started. */
export class Stage {
  constructor() {
    this.home = dataDirectory();
    this.directory = join(this.home, 'tour');
    this.before = new Set(this.#runs());
    this.children = new Set();
    rmSync(this.directory, { recursive: true, force: true });
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    const path = [join(root, 'bin'), dirname(process.execPath), process.env.PATH];
    this.env = {
      ...process.env,
      FORKPOINT_HOME: this.home,
      FORKPOINT_NODE: process.execPath,
      PATH: path.join(delimiter),
      EXAMPLES: join(root, 'examples'),
    };
  }

  /** Shows a command line and runs it in the tour's directory; its output appears as it comes. Returns stdout, or fails. */
  async command(line, { env = {}, isQuiet = false, mayFail = false } = {}) {
    say(paint(36, `$ ${line.replaceAll('"$EXAMPLES"/', 'examples/')}`));
    const child = this.spawn('sh', ['-c', line], { env, stdio: ['ignore', 'pipe', 'pipe'] });
    let stdout = '';
    let stderr = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      if (!isQuiet) process.stdout.write(text);
    });
    child.stderr.setEncoding('utf8').on('data', (text) => (stderr += text));
    const code = await ended(child);
    if (code !== 0 && !mayFail) throw new TourError(`\`${line}\` ended with exit code ${code}\n${stderr}`);
    return stdout;
  }

  /** Starts a child that the tour ends should it still live. */
  spawn(file, args, { env = {}, stdio = 'ignore' } = {}) {
    const child = spawn(file, args, {
      cwd: this.directory,
      env: { ...this.env, ...env },
      stdio,
      detached: true,
    });
    this.children.add(child);
    child.once('exit', () => this.children.delete(child));
    return child;
  }

  /** Runs a command without showing it, and returns what it printed. */
  ask(...args) {
    const { status, stdout, stderr } = spawnSync(join(root, 'bin/forkpoint'), args, {
      cwd: this.directory,
      env: this.env,
      encoding: 'utf8',
      timeout: LIMIT_MS,
    });
    if (status !== 0)
      throw new TourError(`\`forkpoint ${args.join(' ')}\` ended with exit code ${status}\n${stderr}`);
    return stdout;
  }

  /** Ends everything that the tour has started and that still lives. */
  end() {
    for (const child of this.children) kill(-child.pid);
    for (const id of this.#runs()) {
      if (this.before.has(id)) continue;
      const launcher = launcherOf(join(this.home, 'runs', id));
      if (launcher !== null) kill(launcher);
    }
  }

  #runs() {
    try {
      return readdirSync(join(this.home, 'runs'));
    } catch {
      // Nothing has ever run here.
      return [];
    }
  }
}

/** Resolves with the exit code of a child, 128 and the signal's number aside: any signal counts as 128. */
export function ended(child) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(() => kill(-child.pid), LIMIT_MS);
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      resolve(code ?? 128);
    });
  });
}

/** Fetches a page on a connection of its own. */
export function page(port, path) {
  return new Promise((resolve, reject) => {
    const request = get({ host: '127.0.0.1', port, path, agent: false, timeout: 10_000 }, (response) => {
      let text = '';
      response.setEncoding('utf8').on('data', (part) => (text += part));
      response.on('end', () => resolve(text));
      response.on('error', reject);
    });
    request.on('timeout', () => request.destroy(new TourError(`port ${port} gave no answer within 10 s`)));
    request.on('error', reject);
  });
}

/** Asks until a server that is starting answers, every 2 ms, for at most 30 s. */
export async function firstAnswer(port, path) {
  const deadline = Date.now() + 30_000;
  for (;;) {
    try {
      return await page(port, path);
    } catch (error) {
      // Reset: the connection met a listener that was just being handed over.
      const isEarly = error.code === 'ECONNREFUSED' || error.code === 'ECONNRESET';
      if (!isEarly || Date.now() > deadline) throw error;
      await new Promise((resolve) => setTimeout(resolve, 2));
    }
  }
}

/** Returns a port on which nobody listens now. */
export function freePort() {
  return new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const { port } = server.address();
      server.close(() => resolve(port));
    });
  });
}

export function median(values) {
  const sorted = values.toSorted((a, b) => a - b);
  return sorted[sorted.length >> 1];
}

function launcherOf(directory) {
  try {
    if (!readFileSync(join(directory, 'state'), 'utf8').startsWith('running')) return null;
    return JSON.parse(readFileSync(join(directory, 'run.json'), 'utf8')).launcherPid;
  } catch {
    // The run never started.
    return null;
  }
}

function kill(pid) {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}
