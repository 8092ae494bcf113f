import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, readdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { askCheckpoint, readRun } from '../src/index.ts';
import type { Run } from '../src/index.ts';
import { startProcess, temporaryDirectory, WAITER, writeRun } from './fake-run.ts';

/** Starts a process that holds the FIFO `request` and answers one line with `act`, JavaScript that knows `line` and `dir`. */
async function answering(t: TestContext, act: string): Promise<Run> {
  const runs = await temporaryDirectory(t);
  const ctl = join(runs, 'aaaaaaaaaaaa', 'ctl');
  await mkdir(ctl, { recursive: true });
  execFileSync('mkfifo', [join(ctl, 'request')]);
  const script = `const fs = require("fs"), dir = process.argv[1];
    const fd = fs.openSync(dir + "/ctl/request", "r+");
    process.stdout.write("ready");
    const bytes = Buffer.alloc(8192);
    fs.read(fd, bytes, 0, 8192, null, (error, count) => {
      const line = JSON.parse(bytes.toString("utf8", 0, count));
      ${act}
    });
    setInterval(() => {}, 1000)`;
  const launcher = await startProcess(t, script, [join(runs, 'aaaaaaaaaaaa')]);
  return await readRun(await writeRun(runs, { id: 'aaaaaaaaaaaa', launcherPid: launcher.pid ?? 0 }));
}

const answer = (value: string): string =>
  `fs.writeFileSync(dir + "/results/new", ${value}); fs.renameSync(dir + "/results/new", dir + "/results/" + line.ask + ".json");`;

test('the request reaches the launcher and its answer comes back and is taken away', async (t) => {
  const run = await answering(
    t,
    answer(
      'JSON.stringify({v: 1, outcome: "done", image: line.to, generation: 1, sizes: {total: 5}, report: line})',
    ),
  );
  const result = await askCheckpoint(
    run,
    { to: '/img', cwd: '/srv', stop: true, timeoutMs: 1000 },
    { timeoutMs: 5000 },
  );
  assert.equal(result.outcome, 'done');
  assert.equal(result.image, '/img');
  const { ask, ...request } = result.report as { ask: string };
  assert.match(ask, /^[0-9a-f]{16}$/);
  assert.deepEqual(request, {
    v: 1,
    op: 'checkpoint',
    pid: 0,
    to: '/img',
    cwd: '/srv',
    stop: true,
    timeoutMs: 1000,
  });
  assert.deepEqual(await readdir(join(run.dir, 'results')), []);
});

test('a failed checkpoint is an answer with its resources', async (t) => {
  const run = await answering(
    t,
    answer(
      'JSON.stringify({v: 1, outcome: "failed", code: "E", message: "m", resources: [{kind: "socket", what: "x", fd: 3}]})',
    ),
  );
  const result = await askCheckpoint(run, {}, { timeoutMs: 5000 });
  assert.deepEqual(result.resources, [{ kind: 'socket', what: 'x', fd: 3 }]);
});

test('an answer that is none is refused', async (t) => {
  const run = await answering(t, answer('"{}"'));
  await assert.rejects(askCheckpoint(run, {}, { timeoutMs: 5000 }), {
    code: 'ERR_FORKPOINT_ANSWER',
    message: /v is missing/,
  });
});

test('a launcher that dies while it is asked ends the waiting at once', async (t) => {
  const run = await answering(t, 'process.exit(1)');
  await assert.rejects(askCheckpoint(run, {}, { timeoutMs: 60_000 }), { code: 'ERR_FORKPOINT_RUN_GONE' });
});

test('a launcher that does not answer is waited for up to the limit, or until the caller gives up', async (t) => {
  const run = await answering(t, '');
  await assert.rejects(askCheckpoint(run, {}, { timeoutMs: 50 }), { code: 'ERR_FORKPOINT_TIMEOUT' });
  await assert.rejects(askCheckpoint(run, {}, { timeoutMs: 5000, signal: AbortSignal.abort() }), {
    code: 'ERR_FORKPOINT_CANCELLED',
  });
});

test('a run without a launcher at its FIFO is gone, and a file in its place is not written to', async (t) => {
  const runs = await temporaryDirectory(t);
  const other = await startProcess(t, WAITER);
  const dir = await writeRun(runs, { id: 'aaaaaaaaaaaa', launcherPid: other.pid ?? 0 });
  const run = await readRun(dir);
  await assert.rejects(askCheckpoint(run, {}, { timeoutMs: 500 }), { code: 'ERR_FORKPOINT_RUN_GONE' });
  execFileSync('mkfifo', [join(dir, 'ctl', 'request')]);
  await assert.rejects(askCheckpoint(run, {}, { timeoutMs: 500 }), { code: 'ERR_FORKPOINT_RUN_GONE' });
  const labels = { a: 'x'.repeat(5000) };
  await assert.rejects(askCheckpoint(run, { labels }, { timeoutMs: 500 }), {
    code: 'ERR_FORKPOINT_ANSWER',
    message: /4096/,
  });
  await writeFile(join(dir, 'ctl', 'plain'), '');
});
