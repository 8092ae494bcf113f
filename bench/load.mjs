// What clients see of checkpoints that leave the program running: 50 connections that stay open, ten checkpoints, the longest
// time without an answer beside the time that CRIU says it froze the program.
import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { cpus, loadavg, release } from 'node:os';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const forkpoint = join(root, 'bin/forkpoint');
const LIMIT_MS = 60_000;
/** Each connection asks about 20 times a second: a thousand answers a second leave the server idle most of the time. */
const PAUSE_MS = 50;

const SIZES = {
  smoke: { connections: 50, checkpoints: 2 },
  quick: { connections: 50, checkpoints: 10 },
  full: { connections: 50, checkpoints: 30 },
};

/**
 * Runs the benchmark in a data directory in which set-up has been done. Returns, for each checkpoint, what clients and CRIU saw.
 * @param {{ home: string, size?: 'smoke' | 'quick' | 'full', progress?: (text: string) => void }} options
 */
export async function benchLoad({ home, size = 'quick', progress = () => undefined }) {
  const { connections, checkpoints } = SIZES[size];
  const scratch = mkdtempSync(join(home, 'bench-'));
  const env = { ...process.env, FORKPOINT_HOME: home, FORKPOINT_NODE: process.execPath, PORT: '0' };
  let id;
  try {
    const program = join(root, 'examples/server.cjs');
    ({ id } = JSON.parse(
      await call([forkpoint, 'run', '-d', '--json', '--', process.execPath, program], env),
    ));
    const port = await portOf(home, id);
    const client = startClient(port, connections);
    await client.ready;
    const windows = [];
    for (let i = 0; i < checkpoints; i++) {
      progress(`checkpoint ${i + 1} of ${checkpoints}`);
      // As long without a checkpoint, for what the machine does to the clients by itself.
      const idleFrom = Date.now();
      await pause(500);
      const from = Date.now();
      const told = JSON.parse(
        await call([forkpoint, 'checkpoint', '--json', id, join(scratch, 'image')], env),
      );
      windows.push({
        idle: [idleFrom, from],
        busy: [from, Date.now()],
        frozenMs: told.times.frozen,
        totalMs: told.times.total,
      });
    }
    await pause(200);
    const seen = await client.end();
    return {
      size,
      connections,
      answers: seen.answers,
      errors: seen.errors,
      reconnects: seen.reconnects,
      checkpoints: windows.map(({ idle, busy, frozenMs, totalMs }) => ({
        frozenMs,
        totalMs,
        stallMs: longest(seen.gaps, busy),
        idleMs: longest(seen.gaps, idle),
      })),
      machine: `${cpus().length} processors, Linux ${release()}, Node ${process.version}, load ${loadavg()[0].toFixed(2)}`,
    };
  } finally {
    // Where the benchmark itself has failed, its error is the one to be told.
    if (id !== undefined) await call([forkpoint, 'kill', id, '--signal', 'KILL'], env).catch(() => undefined);
    rmSync(scratch, { recursive: true, force: true });
  }
}

/** The longest gap that began in a window of time; 0 when there was none worth noting. */
function longest(gaps, [from, to]) {
  return gaps.filter(([at]) => at >= from - 5 && at < to).reduce((most, [, ms]) => Math.max(most, ms), 0);
}

function startClient(port, connections) {
  const script = join(root, 'bench/programs/load-client.mjs');
  const child = spawn(process.execPath, [script, String(port), String(connections), String(PAUSE_MS)], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  let text = '';
  const timer = setTimeout(() => child.kill('SIGKILL'), 10 * LIMIT_MS);
  let hear = () => undefined;
  const ready = new Promise((resolve) => (hear = resolve));
  child.stdout.setEncoding('utf8').on('data', (part) => {
    text += part;
    if (text.includes('ready\n')) hear();
  });
  const ended = new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('close', () => {
      clearTimeout(timer);
      hear();
      resolve();
    });
  });
  return {
    ready,
    end: async () => {
      child.stdin.end();
      await ended;
      return JSON.parse(text.slice(text.indexOf('\n') + 1));
    },
  };
}

async function portOf(home, id) {
  const deadline = Date.now() + LIMIT_MS;
  for (;;) {
    const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(
      readFileSync(join(home, 'runs', id, 'log'), 'utf8'),
    );
    if (match !== null) return Number(match[1]);
    if (Date.now() > deadline) throw new Error('the server does not listen');
    await pause(20);
  }
}

function call([file, ...args], env) {
  return new Promise((resolve, reject) => {
    const child = spawn(file, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
    const timer = setTimeout(() => child.kill('SIGKILL'), LIMIT_MS);
    let output = '';
    let words = '';
    child.stdout.setEncoding('utf8').on('data', (text) => (output += text));
    child.stderr.setEncoding('utf8').on('data', (text) => (words += text));
    child.once('error', reject);
    child.once('close', (code) => {
      clearTimeout(timer);
      if (code === 0) resolve(output);
      else reject(new Error(`${args.join(' ')} ended with ${code}: ${words.trim()}`));
    });
  });
}
