// What the tour's scenes share: commands shown as a person would type them, what they started, and its end.
import { spawn } from 'node:child_process';
import { mkdirSync, readdirSync, readFileSync, rmSync, symlinkSync } from 'node:fs';
import { delimiter, dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');
const isColourful = process.stdout.isTTY && !process.env.NO_COLOR;
const paint = (code, text) => (isColourful ? `\x1b[${code}m${text}\x1b[0m` : text);
const LIMIT_MS = 60_000;
const ERRORS_MAX = 8192;
/** Names of the tour's detached runs begin with this, so that nobody else's are taken for them. */
const PREFIX = 'tour-';

export const say = (text = '') => console.log(text);
export const heading = (text) => say(`\n${paint(1, text)}`);

/** Something in the tour did not go as it must. */
export class TourError extends Error {}

/** The directory of the tour, its environment, and everything that it has started. */
export class Stage {
  #children = new Set();
  #leftovers = new Set();

  /** Starts with an empty directory and without anything that a tour killed half-way has left. `home` is the data directory. */
  constructor(home) {
    this.home = home;
    this.directory = join(home, 'tour');
    this.end();
    for (const name of readdirSync(home)) {
      if (name.startsWith('stock-')) rmSync(join(home, name), { recursive: true, force: true });
    }
    rmSync(this.directory, { recursive: true, force: true });
    mkdirSync(this.directory, { recursive: true, mode: 0o700 });
    // The commands shown can be typed there as they are.
    symlinkSync(join(root, 'examples'), join(this.directory, 'examples'));
    this.env = {
      ...process.env,
      FORKPOINT_HOME: home,
      FORKPOINT_NODE: process.execPath,
      PATH: [join(root, 'bin'), dirname(process.execPath), process.env.PATH].join(delimiter),
    };
  }

  /** Shows a command and runs it in the tour's directory; its output appears as it comes. Returns stdout, or fails. */
  async command(line, { mayFail = false } = {}) {
    for (const part of line.split('\n')) say(paint(36, `$ ${part}`));
    return await this.#finish(['sh', '-c', line], { isShown: true, mayFail });
  }

  /** Runs `forkpoint ARGS` without showing it, and returns what it printed. */
  async ask(args, env = {}) {
    return await this.#finish(['forkpoint', ...args], { env });
  }

  async #finish(argv, { isShown = false, mayFail = false, env = {} }) {
    const child = this.start(argv, env);
    let stdout = '';
    child.stdout.setEncoding('utf8').on('data', (text) => {
      stdout += text;
      if (isShown) process.stdout.write(text);
    });
    const code = await child.ended;
    if (code === 0 || mayFail) return stdout;
    throw new TourError(`\`${argv.at(-1)}\` ended with exit code ${code}\n${child.errors}`);
  }

  /**
   * Starts a child that the tour ends should it still live. `ended` resolves with its exit code (128 for any signal),
   * `errors` is the end of what it said on stderr.
   */
  start([file, ...args], env = {}) {
    // A process group of its own: Ctrl-C then reaches the tour alone, which ends everything.
    const options = {
      cwd: this.directory,
      env: { ...this.env, ...env },
      stdio: ['ignore', 'pipe', 'pipe'],
      detached: true,
    };
    return this.adopt(spawn(file, args, options));
  }

  /** Does the same for a child that somebody else has spawned, with pipes and in a process group of its own. */
  adopt(child) {
    this.#children.add(child);
    child.errors = '';
    child.stdout.resume();
    child.stderr
      .setEncoding('utf8')
      .on('data', (text) => (child.errors = (child.errors + text).slice(-ERRORS_MAX)));
    const timer = setTimeout(() => kill(-child.pid), LIMIT_MS);
    child.ended = new Promise((resolve, reject) => {
      child.once('error', (error) => {
        clearTimeout(timer);
        this.#children.delete(child);
        reject(new TourError(`cannot start ${child.spawnfile}: ${error.message}`));
      });
      child.once('close', (code) => {
        clearTimeout(timer);
        this.#children.delete(child);
        resolve(code ?? 128);
      });
    });
    // Whoever waits learns of it.
    child.ended.catch(() => undefined);
    return child;
  }

  /** Ends a child with everything in its process group, and waits for that. */
  async stop(child, signal = 'SIGKILL') {
    kill(-child.pid, signal);
    await child.ended;
  }

  /** Has a directory removed when the tour ends before it does so itself. Returns a function for that case. */
  clear(remove) {
    this.#leftovers.add(remove);
    return () => {
      this.#leftovers.delete(remove);
      remove();
    };
  }

  /** Ends everything that the tour has started and that still lives. */
  end() {
    for (const child of this.#children) kill(-child.pid);
    for (const launcher of livingRuns(join(this.home, 'runs'))) kill(launcher);
    for (const remove of this.#leftovers) remove();
    this.#leftovers.clear();
  }
}

/** The launchers of the living runs that a tour has started; with a launcher its pod ends. */
function livingRuns(runs) {
  try {
    return readdirSync(runs)
      .map((id) => launcherOf(join(runs, id)))
      .filter((pid) => pid !== null);
  } catch (error) {
    // Nothing has ever run here.
    if (error.code === 'ENOENT') return [];
    throw error;
  }
}

function launcherOf(directory) {
  try {
    if (!readFileSync(join(directory, 'state'), 'utf8').startsWith('running')) return null;
    const { name, launcherPid, launcherStart } = JSON.parse(
      readFileSync(join(directory, 'run.json'), 'utf8'),
    );
    const stat = readFileSync(`/proc/${launcherPid}/stat`, 'latin1');
    const isSame = stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] === String(launcherStart);
    return isSame && name.startsWith(PREFIX) ? launcherPid : null;
  } catch {
    // It has ended, or never started.
    return null;
  }
}

function kill(pid, signal = 'SIGKILL') {
  try {
    process.kill(pid, signal);
  } catch {
    // It has ended by itself.
  }
}
