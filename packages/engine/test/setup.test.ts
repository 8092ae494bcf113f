import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  watch,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { readEngine, setup } from '../src/index.ts';

const directory = mkdtempSync(join(tmpdir(), 'forkpoint-setup-'));
after(() => rmSync(directory, { recursive: true, force: true }));
const module = new URL('../src/index.ts', import.meta.url).href;
const log = (): void => undefined;

/** Makes a directory for PATH that holds scripts, and the tools that they need. */
function tools(name: string, scripts: Record<string, string>): NodeJS.ProcessEnv {
  const path = join(directory, name);
  mkdirSync(path);
  for (const [tool, text] of Object.entries(scripts)) {
    writeFileSync(join(path, tool), `#!/bin/sh\n${text}\n`, { mode: 0o755 });
  }
  return { PATH: path };
}

const criu = (version: string): string => `[ "$1" = --version ] && echo "Version: ${version}"; exit 0`;

test('a system CRIU that is new enough and passes its check is used, and written into the plan', async () => {
  const home = join(directory, 'system');
  const env = tools('new', { criu: criu('4.9.1') });
  const result = await setup({ home, log, env });
  assert.equal(result.source, 'system');
  assert.deepEqual(result.criu, [join(directory, 'new', 'criu')]);
  const text = readFileSync(join(home, 'engine', 'engine.plan'), 'latin1').split('\0');
  assert.deepEqual(text, [
    'forkpoint-plan:2',
    'engine',
    '1',
    'criu:1',
    result.criu[0],
    'version:1',
    '4.9.1',
    '',
  ]);
  assert.equal(statSync(home).mode & 0o777, 0o700);
  assert.equal(statSync(join(home, 'engine')).mode & 0o777, 0o700);
  assert.deepEqual(readdirSync(join(home, 'engine')), ['engine.plan']);
});

test('a second set-up does nothing', async () => {
  const home = join(directory, 'system');
  const { mtimeMs } = statSync(join(home, 'engine', 'engine.plan'));
  const lines: string[] = [];
  const result = await setup({ home, log: (line) => lines.push(line), env: { PATH: '/nonexistent' } });
  assert.equal(result.source, 'present');
  assert.deepEqual(lines, []);
  assert.equal(statSync(join(home, 'engine', 'engine.plan')).mtimeMs, mtimeMs);
});

test('a CRIU that was replaced by another version since is looked at again', async () => {
  const home = join(directory, 'system');
  writeFileSync(join(directory, 'new', 'criu'), `#!/bin/sh\n${criu('4.9.2')}\n`);
  const result = await setup({ home, log, env: { PATH: join(directory, 'new') } });
  assert.equal(result.source, 'system');
  assert.equal(readEngine(home).version, '4.9.2');
});

test('an engine whose files are gone is reported with what to run', () => {
  const home = join(directory, 'gone');
  mkdirSync(join(home, 'engine'), { recursive: true });
  assert.throws(() => readEngine(home), {
    code: 'ERR_FORKPOINT_ENGINE_MISSING',
    hint: 'run `forkpoint setup`',
  });
  writeFileSync(
    join(home, 'engine', 'engine.plan'),
    'forkpoint-plan:2\0engine\x001\0criu:1\0/nonexistent/criu\0version:1\x004.2\0',
  );
  assert.throws(() => readEngine(home), {
    code: 'ERR_FORKPOINT_ENGINE_BROKEN',
    message: /\/nonexistent\/criu is missing/,
  });
  writeFileSync(join(home, 'engine', 'engine.plan'), 'half a pl');
  assert.throws(() => readEngine(home), { code: 'ERR_FORKPOINT_ENGINE_BROKEN' });
});

test('a CRIU that is too old or fails its check is passed over, with the reason', async () => {
  const env = tools('old', { criu: criu('4.1.1') });
  const bad = tools('bad', {
    criu: `${criu('4.9.0').replace('; exit 0', ' && exit 0')}; echo "Error (x): no kcmp" >&2; exit 1`,
  });
  const lines: string[] = [];
  const both = {
    PATH: `${env['PATH']}:${bad['PATH']}`,
    FORKPOINT_DEBIAN_MIRROR: 'http://127.0.0.1:9/debian',
  };
  await setup({ home: join(directory, 'passed'), log: (line) => lines.push(line), env: both }).catch(
    () => undefined,
  );
  assert.match(lines.join('\n'), /CRIU 4\.1\.1; 4\.2 or newer is needed/);
  assert.match(lines.join('\n'), /does not pass its own check: Error \(x\): no kcmp/);
});

test('a set-up that was killed in the middle of a download leaves nothing that counts, and the next one cleans up', async () => {
  const home = join(directory, 'killed');
  const engine = join(home, 'engine');
  const started = join(directory, 'started');
  // Stands for a download that never ends; it tells its process id, so that the test can end it.
  const hang = `case "$*" in *update*) exit 0;; esac; echo deb > half.deb; echo $$ > ${started}.tmp; /bin/mv ${started}.tmp ${started}; exec /bin/sleep 60`;
  const env = {
    ...tools('hang', { 'apt-get': hang }),
    FORKPOINT_DEBIAN_MIRROR: 'http://mirror.example/debian',
  };
  const script = `import { setup } from ${JSON.stringify(module)};
    await setup({ home: ${JSON.stringify(home)}, log: () => {}, env: ${JSON.stringify(env)} });`;
  const appeared = new Promise<void>((resolve) => {
    const watcher = watch(directory, () => {
      if (!existsSync(started)) return;
      watcher.close();
      resolve();
    });
  });
  const child = spawn(process.execPath, ['--input-type=module', '-e', script], { stdio: 'inherit' });
  await appeared;
  child.kill('SIGKILL');
  await once(child, 'exit');
  process.kill(Number(readFileSync(started, 'utf8')), 'SIGKILL');
  assert.ok(readdirSync(engine).some((name) => name.startsWith('.fetching-')));
  assert.ok(!existsSync(join(engine, 'engine.plan')));
  const result = await setup({ home, log, env: tools('later', { criu: criu('4.9.1') }) });
  assert.equal(result.source, 'system');
  assert.deepEqual(readdirSync(engine), ['engine.plan']);
});

test('a failed download names every suite’s reason and what to do, and leaves nothing behind', async () => {
  const home = join(directory, 'failed');
  const env = {
    ...tools('fails', { 'apt-get': 'echo "E: Release file for $0 is expired" >&2; exit 100' }),
    FORKPOINT_DEBIAN_MIRROR: 'http://mirror.example/debian',
  };
  await assert.rejects(setup({ home, log, env }), (error: Error & { code?: string; hint?: string }) => {
    assert.equal(error.code, 'ERR_FORKPOINT_FETCH');
    assert.match(error.message, /forky: .*is expired.*sid: .*is expired/);
    assert.match(error.hint ?? '', /forkpoint setup/);
    return true;
  });
  assert.deepEqual(readdirSync(join(home, 'engine')), []);
});

test('a data directory that the loader could not name is refused at once', async () => {
  await assert.rejects(setup({ home: join(directory, 'a:b'), log }), { code: 'ERR_FORKPOINT_PLACE' });
});

test('a set-up can be cancelled', async () => {
  const env = {
    ...tools('slow', { 'apt-get': 'exec /bin/sleep 60' }),
    FORKPOINT_DEBIAN_MIRROR: 'http://mirror.example/debian',
  };
  const controller = new AbortController();
  const running = setup({
    home: join(directory, 'cancelled'),
    env,
    signal: controller.signal,
    log: () => controller.abort(),
  });
  await assert.rejects(running, { code: 'ERR_FORKPOINT_ABORTED' });
  assert.deepEqual(readdirSync(join(directory, 'cancelled', 'engine')), []);
});
