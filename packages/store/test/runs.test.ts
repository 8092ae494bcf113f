import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { constants } from 'node:fs';
import { mkdir, open, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import {
  findRun,
  isUnattended,
  listRuns,
  parseRunRecord,
  parseState,
  processesOf,
  readRun,
  signalRun,
  waitForExit,
} from '../src/index.ts';
import { NO_PID, startProcess, temporaryDirectory, WAITER, writeRun } from './fake-run.ts';

test('a run lives as long as its launcher, told by pid and start time', async (t) => {
  const runs = await temporaryDirectory(t);
  const launcher = await startProcess(t, WAITER);
  const launcherPid = launcher.pid ?? 0;
  await writeRun(runs, { id: 'aaaaaaaaaaaa', launcherPid });
  await writeRun(runs, { id: 'bbbbbbbbbbbb', launcherPid, launcherStart: 1 });
  await writeRun(runs, { id: 'cccccccccccc', launcherPid: NO_PID });
  assert.deepEqual(
    (await listRuns(runs)).map((run) => [run.id, run.isAlive]),
    [
      ['aaaaaaaaaaaa', true],
      ['bbbbbbbbbbbb', false],
      ['cccccccccccc', false],
    ],
  );
});

test('a run whose requests nobody reads has lost its launcher', async (t) => {
  const dir = await temporaryDirectory(t);
  assert.equal(await isUnattended(dir), false, 'what is not there says nothing');
  await mkdir(join(dir, 'ctl'));
  const fifo = join(dir, 'ctl/request');
  spawnSync('mkfifo', [fifo]);
  assert.equal(await isUnattended(dir), true);
  const reader = await open(fifo, constants.O_RDONLY | constants.O_NONBLOCK);
  assert.equal(await isUnattended(dir), false);
  await reader.close();
  assert.equal(await isUnattended(dir), true);
  await rm(join(dir, 'ctl'), { recursive: true });
  assert.equal(await isUnattended(dir), false, 'it is being started');
  await writeFile(join(dir, 'run.json'), '{}');
  assert.equal(await isUnattended(dir), true, 'gc takes the control directory of none but ended runs');
});

test('what is no run is left out of the list', async (t) => {
  const runs = await temporaryDirectory(t);
  await mkdir(join(runs, 'dddddddddddd'));
  await mkdir(join(runs, 'other'));
  await mkdir(join(runs, 'eeeeeeeeeeee'));
  await writeFile(join(runs, 'eeeeeeeeeeee', 'run.json'), '{"v":1');
  assert.deepEqual(await listRuns(runs), []);
  assert.deepEqual(await listRuns(join(runs, 'missing')), []);
});

test('a run is found by name, by the start of its id, and living ones first', async (t) => {
  const runs = await temporaryDirectory(t);
  const launcher = await startProcess(t, WAITER);
  const launcherPid = launcher.pid ?? 0;
  await writeRun(runs, { id: 'aaaaaaaaaaaa', name: 'server', launcherPid: NO_PID, startedAt: 1 });
  await writeRun(runs, { id: 'aabbbbbbbbbb', name: 'server', launcherPid: NO_PID, startedAt: 2 });
  await writeRun(runs, { id: 'cccccccccccc', name: 'other', launcherPid });
  assert.equal((await findRun(runs, 'server')).id, 'aabbbbbbbbbb');
  assert.equal((await findRun(runs, 'cc')).id, 'cccccccccccc');
  assert.equal((await findRun(runs, 'aab')).id, 'aabbbbbbbbbb');
  await assert.rejects(findRun(runs, 'aa'), { code: 'ERR_FORKPOINT_RUN_AMBIGUOUS', message: /2 runs/ });
  await assert.rejects(findRun(runs, 'sevrer'), {
    code: 'ERR_FORKPOINT_RUN_NOT_FOUND',
    hint: 'Did you mean `server`?',
  });
  await assert.rejects(findRun(runs, ''), { code: 'ERR_FORKPOINT_RUN_NOT_FOUND' });
  await writeRun(runs, { id: 'dddddddddddd', name: 'server', launcherPid, startedAt: 0 });
  assert.equal((await findRun(runs, 'server')).id, 'dddddddddddd');
});

test('a record with a wrong field is refused and the field is named', () => {
  const record = {
    v: 1,
    id: 'aaaaaaaaaaaa',
    name: 'a',
    command: ['x'],
    startedAt: '2026-01-01T00:00:00.000Z',
    generation: 0,
    pid: 1,
    launcherPid: 2,
    launcherStart: 3,
  };
  assert.equal(parseRunRecord(JSON.stringify(record)).launcherStart, '3');
  for (const [field, value] of Object.entries({
    v: 2,
    id: '../x',
    name: 1,
    command: 'x',
    startedAt: 'never',
    generation: -1,
    pid: 0,
    launcherPid: '2',
    launcherStart: 'x',
    to: 1,
  })) {
    assert.throws(() => parseRunRecord(JSON.stringify({ ...record, [field]: value })), {
      code: 'ERR_FORKPOINT_RUN_INVALID',
      message: new RegExp(`\\b${field}\\b`),
    });
  }
});

test('the state file says running or the exit code', () => {
  assert.deepEqual(parseState('running\n'), { kind: 'running' });
  assert.deepEqual(parseState('exited 137\n'), { kind: 'exited', code: 137 });
  for (const text of ['', 'exited', 'exited -1', 'exited 1000', 'dead'])
    assert.equal(parseState(text), undefined);
});

test('the processes of a run are those below its launcher, with their memory', async (t) => {
  const runs = await temporaryDirectory(t);
  const script = `const c = require("child_process").spawn(process.execPath, ["-e", ${JSON.stringify(WAITER)}]);
    c.stdout.once("data", () => process.stdout.write(String(c.pid))); process.stdin.resume();
    process.stdin.on("end", () => c.kill())`;
  const { spawn } = await import('node:child_process');
  const launcher = spawn(process.execPath, ['-e', script], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => launcher.kill('SIGKILL'));
  const [data] = (await once(launcher.stdout, 'data')) as [Buffer];
  const pid = Number(data.toString());
  const dir = await writeRun(runs, { id: 'aaaaaaaaaaaa', launcherPid: launcher.pid ?? 0, pid });
  const run = await readRun(dir);
  const [only, ...others] = await processesOf(run);
  assert.deepEqual(others, []);
  assert.deepEqual([only?.pid, only?.hostPid, only?.command[1]], [pid, pid, '-e']);
  assert.ok((only?.memory.privateBytes ?? 0) > 1_000_000);
  await signalRun(run, 'SIGTERM');
  const gone = once(launcher, 'exit');
  launcher.stdin.end();
  await gone;
  await assert.rejects(signalRun(await readRun(dir), 'SIGTERM'), { code: 'ERR_FORKPOINT_RUN_GONE' });
  assert.deepEqual(await processesOf(await readRun(dir)), []);
});

test('waiting for a run gives its exit code, or null when the launcher was killed', async (t) => {
  const runs = await temporaryDirectory(t);
  const launcher = await startProcess(t, WAITER);
  const dir = await writeRun(runs, { id: 'aaaaaaaaaaaa', launcherPid: launcher.pid ?? 0 });
  const run = await readRun(dir);
  await assert.rejects(waitForExit(run, { timeoutMs: 30 }), { code: 'ERR_FORKPOINT_TIMEOUT' });
  await assert.rejects(waitForExit(run, { signal: AbortSignal.abort() }), {
    code: 'ERR_FORKPOINT_CANCELLED',
  });
  const code = waitForExit(run, { timeoutMs: 5000 });
  await writeFile(join(dir, 'state'), 'exited 7\n');
  assert.equal(await code, 7);
  await writeFile(join(dir, 'state'), 'running\n');
  const killed = waitForExit(run, { timeoutMs: 5000 });
  launcher.kill('SIGKILL');
  assert.equal(await killed, null);
});

test('hundreds of runs are looked at together with few descriptors, and none seems to be gone', () => {
  const proc = new URL('../src/proc.ts', import.meta.url).href;
  const script = `
    import('${proc}').then(async ({ descendantsOf }) => {
      const all = await Promise.all(Array.from({ length: 300 }, () => descendantsOf(process.ppid)));
      process.exit(all.every((found) => found.some(({ hostPid }) => hostPid === process.pid)) ? 0 : 9);
    });`;
  const limited = ['-c', 'ulimit -n 100; exec "$0" -e "$1"', process.execPath, script];
  const { status, stderr } = spawnSync('sh', limited, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
});
