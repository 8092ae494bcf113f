// The engine's set-up with the real archive and the real CRIU, as an ordinary user. Needs the network.
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import {
  chmodSync,
  chownSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { fileURLToPath } from 'node:url';

const USER = 61_001;
const isRoot = process.getuid?.() === 0;
const engine = new URL('../../packages/engine/src/index.ts', import.meta.url).href;
const launcherSource = fileURLToPath(new URL('../../packages/launcher', import.meta.url));
const directory = mkdtempSync(join(tmpdir(), 'forkpoint-engine-'));
after(() => rmSync(directory, { recursive: true, force: true }));
chmodSync(directory, 0o755);
const home = join(directory, 'home');
mkdirSync(home, { mode: 0o700 });
if (isRoot) chownSync(home, USER, USER);

interface Ended {
  readonly result: Record<string, unknown>;
  readonly lines: string[];
}

/** Starts code that has `engine`, `home` and `log`, as an ordinary user; what it returns comes back as JSON. */
function start(
  code: string,
  env: Record<string, string> = {},
): { child: ChildProcess; ended: Promise<Ended> } {
  const text = `import * as engine from ${JSON.stringify(engine)};
    const home = ${JSON.stringify(home)};
    const log = (line) => process.stderr.write(line + '\\n');
    const work = async () => { ${code} };
    try { console.log(JSON.stringify(await work())); }
    catch (error) { console.log(JSON.stringify({ code: error.code, message: error.message, hint: error.hint })); }`;
  const node = [process.execPath, '--input-type=module', '-e', text];
  const drop = ['setpriv', `--reuid=${USER}`, `--regid=${USER}`, '--clear-groups', '--'];
  const [file = '', ...args] = isRoot ? [...drop, ...node] : node;
  const child = spawn(file, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    env: { ...process.env, HOME: home, ...env },
  });
  const out: Buffer[] = [];
  const err: Buffer[] = [];
  child.stdout.on('data', (chunk: Buffer) => out.push(chunk));
  child.stderr.on('data', (chunk: Buffer) => err.push(chunk));
  const ended = once(child, 'close').then(() => ({
    result: JSON.parse(Buffer.concat(out).toString() || '{}') as Record<string, unknown>,
    lines: Buffer.concat(err).toString().trim().split('\n'),
  }));
  return { child, ended };
}

const SETUP = 'return await engine.setup({ home, log });';
// The machine that runs the tests may have a CRIU of its own, which would be taken: these look at fetching.
const FETCH =
  'return await engine.setup({ home, log, env: { ...process.env, FORKPOINT_SYSTEM_CRIU: "0" } });';

test(
  'killed in the middle, then started twice at once: one fetches CRIU, the other waits, and no debris stays',
  { timeout: 240_000 },
  async () => {
    const first = start(FETCH);
    assert.ok(first.child.stderr);
    for await (const chunk of first.child.stderr) {
      if (String(chunk).includes('fetching criu')) break;
    }
    first.child.kill('SIGKILL');
    await once(first.child, 'close');
    assert.deepEqual(
      readdirSync(join(home, 'engine')).filter((name) => name === 'engine.plan'),
      [],
    );

    const both = await Promise.all([start(FETCH).ended, start(FETCH).ended]);
    assert.deepEqual(
      both.map(({ result }) => String(result['source'])).sort(),
      ['fetched', 'present'],
      JSON.stringify(both),
    );
    assert.match(String(both[0].result['version']), /^4\.[2-9]|^[5-9]\./);
    const version = String(both[0].result['version']);
    assert.deepEqual(readdirSync(join(home, 'engine')).sort(), [`criu-${version}`, 'engine.plan']);
    if (isRoot) assert.equal(statSync(join(home, 'engine', `criu-${version}`, 'usr/sbin/criu')).uid, USER);
  },
);

test('a second set-up needs no network and does no work', async () => {
  const { result, lines } = await start(SETUP, { FORKPOINT_DEBIAN_MIRROR: 'http://127.0.0.1:9/debian' })
    .ended;
  assert.equal(result['source'], 'present');
  assert.deepEqual(lines, ['']);
});

test('CRIU’s own check is content with what was fetched', async () => {
  const { result } = await start('return { rows: await engine.doctor({ home, nativeDir: home }) };').ended;
  const rows = result['rows'] as { name: string; ok: boolean; detail: string }[];
  for (const name of ['criu', 'criu check', 'user namespaces', 'data directory']) {
    const row = rows.find((one) => one.name === name);
    assert.equal(row?.ok, true, `${name}: ${row?.detail}`);
  }
});

test(
  'where there is no C compiler a fetched one builds the launcher, the shim and programs that run',
  { timeout: 240_000 },
  async () => {
    const hello = join(directory, 'hello.c');
    writeFileSync(hello, '#include <stdio.h>\nint main(void) { return puts("hello") < 0; }\n');
    const { result } = await start(`
    const { execFileSync } = await import('node:child_process');
    const built = await engine.setup({ home, log, compiler: 'fetched', native: { sourceDir: ${JSON.stringify(launcherSource)} } });
    const out = engine.nativeDirectory(home);
    const compiler = await engine.findCompiler(engine.engineDirectory(home), 'fetched', { env: process.env, log, signal: undefined });
    execFileSync(compiler.executable([${JSON.stringify(hello)}], home + '/hello', true)[0], compiler.executable([${JSON.stringify(hello)}], home + '/hello', true).slice(1));
    const { createRequire } = await import('node:module');
    createRequire(home + '/x.js')(out + '/reseed.node');
    return {
      name: compiler.name, isBuilt: built.native.isBuilt,
      hello: execFileSync(home + '/hello').toString(),
      cpu: execFileSync(out + '/launcher', ['cpu']).toString(),
      rows: (await engine.doctor({ home, nativeDir: out })).filter(({ name }) => name === 'preload'),
    };`).ended;
    assert.equal(result['name'], 'tcc (fetched)', JSON.stringify(result));
    assert.equal(result['isBuilt'], true);
    assert.equal(result['hello'], 'hello\n');
    assert.match(String(result['cpu']), /^\S+(\s+[0-9a-f]+)+\s*$/);
    assert.deepEqual(result['rows'], [{ name: 'preload', ok: true, detail: 'io_uring is refused' }]);
  },
);

test('an archive that cannot be reached is named, with what to do', { timeout: 120_000 }, async () => {
  const { result } = await start(
    'return await engine.setup({ home: home + "/other", log, env: { ...process.env, FORKPOINT_SYSTEM_CRIU: "0" } });',
    {
      FORKPOINT_DEBIAN_MIRROR: 'http://127.0.0.1:9/debian',
    },
  ).ended;
  assert.equal(result['code'], 'ERR_FORKPOINT_FETCH', JSON.stringify(result));
  assert.match(String(result['message']), /127\.0\.0\.1/);
  assert.match(String(result['hint']), /FORKPOINT_DEBIAN_MIRROR/);
  assert.deepEqual(readdirSync(join(home, 'other', 'engine')), []);
});
