// Helpers of the set-up that need nothing but Node: running commands, errors with a hint, one set-up at a time.
import { spawn } from 'node:child_process';
import { linkSync, mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';

/** A set-up that cannot go on; `hint` says what to do. */
export class SetupError extends Error {
  constructor(message, hint) {
    super(message);
    this.hint = hint;
  }
}

export function say(line) {
  process.stderr.write(`${line}\n`);
}

/** Runs a command; `onLine` gets its error stream line by line. Resolves to its exit code and the end of both streams. */
export function run(argv, { cwd, env, timeoutMs, onLine }) {
  return new Promise((resolve) => {
    const child = spawn(argv[0], argv.slice(1), { cwd, env, stdio: ['ignore', 'pipe', 'pipe'] });
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
      resolve({ code: error.code === 'ENOENT' ? 127 : 126, output: error.message });
    });
    child.once('close', (code, signal) => {
      clearTimeout(timer);
      resolve({ code: code ?? 1, output: signal === null ? output : `${output}\nended by ${signal}` });
    });
  });
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
