// Helpers of the set-up that need nothing but Node: running commands, errors with a hint, one set-up at a time.
import { spawn } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** A set-up that cannot go on; `hint` says what to do. */
export class SetupError extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

/** The user has interrupted the set-up; what was under way has ended. */
export class Interrupted extends SetupError {
  constructor(signal) {
    super(`the set-up was interrupted by ${signal}`, 'start again: what is already there is kept');
    this.exitCode = 128 + constants.signals[signal];
  }
}

/** How long an interrupted command has for tidying up; npm takes back what it has half installed. */
const TIDY_MS = 10_000;

export function say(line) {
  process.stderr.write(`${line}\n`);
}

/**
 * Runs a command; `onLine` gets its error stream line by line. Resolves to its exit code and the end of both streams.
 * Rejects with Interrupted after a SIGINT or SIGTERM, once the command has ended: the next set-up must not meet it.
 */
export function run(argv, { cwd, env, timeoutMs, onLine }) {
  return new Promise((resolve, reject) => {
    const child = spawn(argv[0], argv.slice(1), { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
    const interruption = passOn(child);
    let output = '';
    let rest = '';
    const timer = setTimeout(() => child.kill('SIGKILL'), timeoutMs);
    const keep = (chunk) => {
      output = (output + chunk).slice(-65_536);
    };
    child.stdout.on('data', keep);
    child.stderr.on('data', (chunk) => {
      keep(chunk);
      const lines = (rest + chunk).split('\n');
      rest = lines.pop().slice(0, 4096);
      if (onLine) for (const line of lines) onLine(line);
    });
    child.once('error', (error) => {
      clearTimeout(timer);
      interruption.over();
      resolve({ code: error.code === 'ENOENT' ? 127 : 126, output: error.message });
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      const interrupted = interruption.over();
      if (interrupted !== undefined) return reject(new Interrupted(interrupted));
      resolve({ code: code ?? 1, output: signal === null ? output : `${output}\nended by ${signal}` });
    });
  });
}

/**
 * Has a child end when this process is told to. A terminal sends Ctrl-C to both, so that SIGINT is not passed on at once: told
 * twice, npm would not tidy up. `over` returns the signal that came, if one did.
 */
function passOn(child) {
  let came;
  const timers = [];
  const end = (signal, afterMs) => timers.push(setTimeout(() => child.kill(signal), afterMs));
  const listeners = ['SIGINT', 'SIGTERM'].map((signal) => {
    const listener = () => {
      if (came === undefined) {
        end('SIGTERM', signal === 'SIGTERM' ? 0 : TIDY_MS / 2);
        end('SIGKILL', TIDY_MS);
      }
      came ??= signal;
    };
    process.on(signal, listener);
    return [signal, listener];
  });
  return {
    over: () => {
      for (const timer of timers) clearTimeout(timer);
      for (const [signal, listener] of listeners) process.removeListener(signal, listener);
      return came;
    },
  };
}

/** Runs `work` while no other set-up of this checkout does. A lock whose owner is gone does not count. */
export async function alone(path, limitMs, work) {
  mkdirSync(dirname(path), { recursive: true });
  const limit = Date.now() + limitMs;
  for (let told = false; !take(path);) {
    const owner = ownerOf(path);
    if (owner !== null && !isAlive(owner)) {
      removeStale(path, owner);
      continue;
    }
    const pid = owner?.split(' ')[0] ?? '?';
    if (!told) say(`waiting for the set-up that process ${pid} is doing`);
    told = true;
    if (Date.now() > limit)
      throw new SetupError(`process ${pid} does not finish its set-up`, `end it: kill ${pid}`);
    await wait(100);
  }
  try {
    return await work();
  } finally {
    rmSync(path, { force: true });
  }
}

/** A hard link to a finished file: the lock never exists without its owner in it. */
function take(path) {
  const beside = `${path}.${process.pid}`;
  writeFileSync(beside, `${process.pid} ${startTime(process.pid)}`);
  try {
    linkSync(beside, path);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  } finally {
    rmSync(beside, { force: true });
  }
}

/** Of two that see the same stale lock, the rename lets one remove it; a lock that is not the stale one is put back. */
function removeStale(path, stale) {
  const aside = `${path}.${process.pid}.old`;
  try {
    renameSync(path, aside);
    if (ownerOf(aside) !== stale) linkSync(aside, path);
  } catch (error) {
    if (error.code !== 'ENOENT' && error.code !== 'EEXIST') throw error;
  } finally {
    rmSync(aside, { force: true });
  }
}

/** Returns pid and start time of the owner; null while it is being written or when it has just gone. */
function ownerOf(path) {
  try {
    return readFileSync(path, 'latin1').trim() || null;
  } catch (error) {
    if (error.code === 'ENOENT') return null;
    throw error;
  }
}

function isAlive(owner) {
  const [pid, start] = owner.split(' ');
  return start === undefined || startTime(pid) === start;
}

function startTime(pid) {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1');
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19];
  } catch {
    // No such process.
    return '';
  }
}
