import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { withLock } from '../src/index.ts';
import { processStartTime } from '../src/lock.ts';

const directory = mkdtempSync(join(tmpdir(), 'forkpoint-lock-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const lockPath = (name: string): string => join(directory, name, 'setup.lock');
const module = new URL('../src/lock.ts', import.meta.url).href;

test('two processes never do the work at the same time', async () => {
  const path = lockPath('two');
  const trace = join(directory, 'trace');
  const script = `import { withLock } from ${JSON.stringify(module)};
    import { appendFileSync } from 'node:fs';
    for (let i = 0; i < 20; i++) await withLock(${JSON.stringify(path)}, {}, async () => {
      appendFileSync(${JSON.stringify(trace)}, 'in\\n');
      await new Promise(setImmediate);
      appendFileSync(${JSON.stringify(trace)}, 'out\\n');
    });`;
  const children = [1, 2, 3].map(() =>
    spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' }),
  );
  for (const [code] of await Promise.all(children.map((child) => once(child, 'exit')))) assert.equal(code, 0);
  const lines = readFileSync(trace, 'utf8').trim().split('\n');
  assert.equal(lines.length, 120);
  assert.ok(lines.every((line, index) => line === (index % 2 === 0 ? 'in' : 'out')));
  assert.deepEqual(readdirSync(join(directory, 'two')), []);
});

test('a lock whose owner was killed does not count', async () => {
  const path = lockPath('killed');
  const script = `import { withLock } from ${JSON.stringify(module)};
    await withLock(${JSON.stringify(path)}, {}, () => { console.log('held'); return new Promise(() => setInterval(() => {}, 1000)); });`;
  const child = spawn(process.execPath, ['--input-type=module', '-e', script]);
  await once(child.stdout, 'data');
  child.kill('SIGKILL');
  await once(child, 'exit');
  assert.ok(existsSync(path));
  assert.equal(await withLock(path, { timeoutMs: 2000 }, async () => 'done'), 'done');
});

test('a pid that belongs to another process by now does not count', async () => {
  const path = lockPath('reused');
  await withLock(path, {}, async () => undefined);
  writeFileSync(path, `${process.pid} 1 00\n`);
  assert.equal(await withLock(path, { timeoutMs: 2000 }, async () => 'done'), 'done');
});

test('a lock file with rubbish in it does not count', async () => {
  const path = lockPath('rubbish');
  await withLock(path, {}, async () => undefined);
  writeFileSync(path, '\u0000\u0001');
  assert.equal(await withLock(path, { timeoutMs: 2000 }, async () => 'done'), 'done');
});

test('waiting has a limit, names the owner and leaves its lock alone', async () => {
  const path = lockPath('limit');
  const lines: string[] = [];
  await withLock(path, {}, async () => {
    const second = withLock(path, { timeoutMs: 200, log: (line) => lines.push(line) }, async () => undefined);
    await assert.rejects(second, { code: 'ERR_FORKPOINT_SETUP_LOCKED' });
    assert.match(readFileSync(path, 'utf8'), new RegExp(`^${process.pid} ${processStartTime(process.pid)} `));
  });
  assert.match(lines.join('\n'), new RegExp(`process ${process.pid}`));
  assert.ok(!existsSync(path));
});

test('the lock is given back when the work fails', async () => {
  const path = lockPath('fails');
  await assert.rejects(
    withLock(path, {}, async () => Promise.reject(new Error('no'))),
    /^Error: no$/,
  );
  assert.ok(!existsSync(path));
});
