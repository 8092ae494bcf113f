import assert from 'node:assert/strict';
import { mkdtempSync, readdirSync, realpathSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import type { TestContext } from 'node:test';

import { buildLibrary, Fixture, NODES } from './built-library.ts';
import type { StartOptions } from './built-library.ts';
import { FakeLauncher } from './fake-launcher.ts';

const library = buildLibrary();
after(() => library.remove());

/** A restored clone, as the launcher of its new pod describes it. */
const CLONE = { id: 'run-2', image: '/img', parentId: 'run-1', generation: 1, index: null, elapsedMs: 1500 };

interface Pod {
  launcher: FakeLauncher;
  app: Fixture;
  pid: number;
}

async function startPod(
  t: TestContext,
  options: Partial<StartOptions> & { name?: string } = {},
): Promise<Pod> {
  const launcher = new FakeLauncher();
  const { name = 'app.cjs', node = NODES[1]?.[1] ?? '', ...rest } = options;
  const app = new Fixture(name, { node, library, launcher, ...rest });
  t.after(async () => {
    await app.stop();
    launcher.close();
  });
  const pid = await launcher.joined();
  assert.deepEqual(await app.line(), { ready: true });
  return { launcher, app, pid };
}

/** Takes a member through prepare and ready; the caller answers. */
async function prepare({ launcher, pid }: Pod): Promise<void> {
  await launcher.next('prepare');
  await launcher.answer(pid, { outcome: 'prepared' });
  await launcher.next('ready');
}

for (const [version, node] of NODES) {
  for (const name of ['app.cjs', 'app.mjs']) {
    describe(`${version}, ${name}`, () => {
      test('joins at the start, and all ways to load the library give one state', async (t) => {
        const pod = await startPod(t, { node, name });
        const info = pod.launcher.info(pod.pid);
        assert.equal(info['pid'], pod.app.pid);
        assert.equal((info['runtime'] as { name: string }).name, 'node');
        pod.app.say('implemented');
        assert.deepEqual(await pod.app.line(), { isImplemented: true, isSame: true });
      });

      test('checkpoint() goes on, and resolves once the image is published', async (t) => {
        const pod = await startPod(t, { node, name });
        pod.app.say('register a');
        pod.app.say('checkpoint /img');
        assert.deepEqual(await pod.app.line(), {});
        const request = await pod.launcher.next('prepare');
        assert.equal(request['to'], '/img');
        assert.equal(request['stop'], false);
        assert.equal(request['cwd'], realpathSync(library.directory));
        await pod.launcher.answer(pod.pid, { outcome: 'prepared' });
        assert.deepEqual(await pod.launcher.next('ready'), { v: 1, op: 'ready', pid: pod.pid });
        await pod.launcher.answer(pod.pid, { outcome: 'continued', pending: true });
        await pod.launcher.answer(pod.pid, { outcome: 'published', image: '/img' });
        const { result, log, restoreTime, uptime } = await pod.app.line();
        assert.deepEqual(result, { outcome: 'continued', image: '/img' });
        assert.deepEqual(log, ['before a', 'after a']);
        assert.deepEqual([restoreTime, uptime], [-1, -1]);
      });

      test('a clone has its own randomness, arguments, environment and directory', async (t) => {
        const directory = realpathSync(mkdtempSync(join(tmpdir(), 'forkpoint-cwd-')));
        const pod = await startPod(t, { node, name });
        pod.app.say('stop /img');
        const request = await pod.launcher.next('prepare');
        assert.equal(request['stop'], true);
        assert.deepEqual(request['labels'], { a: 'b' });
        await pod.launcher.answer(pod.pid, { outcome: 'prepared' });
        await pod.launcher.next('ready');
        const clone = { ...CLONE, args: ['x', 'y z'], env: { GREETING: 'hello' } };
        pod.launcher.identify(clone);
        await pod.launcher.answer(pod.pid, { outcome: 'restored', ...clone, cwd: directory });
        const { result, args, greeting, cwd, restoreTime, uptime } = await pod.app.line();
        assert.deepEqual(result, clone);
        assert.deepEqual([args, greeting, cwd], [['x', 'y z'], 'hello', directory]);
        assert.ok(Math.abs(Number(restoreTime) - Date.now()) < 10_000);
        assert.ok(Number(uptime) >= 0 && Number(uptime) < 10_000);
      });

      test('a checkpoint asked for from outside needs nothing of a program without hooks', async (t) => {
        const pod = await startPod(t, { node, name });
        pod.launcher.ask('one', [pod.pid]);
        assert.deepEqual(await pod.launcher.next('ready'), { v: 1, op: 'ready', pid: pod.pid, ask: 'one' });
        await pod.launcher.answer(pod.pid, { outcome: 'restored', ...CLONE, args: ['new'], env: {} });
        pod.app.say('state');
        assert.deepEqual((await pod.app.line())['args'], ['new']);
      });
    });
  }
}

test('outside a pod registering works, and a checkpoint is refused with how to start', async () => {
  for (const [, node] of NODES) {
    const app = new Fixture('app.mjs', { node, library });
    await app.line();
    for (const command of ['register a', 'implemented', 'checkpoint']) app.say(command);
    assert.deepEqual(await app.line(), {});
    assert.deepEqual(await app.line(), { isImplemented: false, isSame: true });
    const { error } = (await app.line()) as { error: { code: string; message: string } };
    assert.equal(error.code, 'ERR_FORKPOINT_NO_RUNTIME');
    assert.match(error.message, /forkpoint run -- node app\.js/);
    await app.stop();
  }
});

test('a broken control directory never breaks the program', async () => {
  const env = {
    FORKPOINT_DIR: '/nonexistent/forkpoint',
    NODE_OPTIONS: `--require=${library.preload}`,
  };
  const app = new Fixture('app.cjs', { node: NODES[0]?.[1] ?? '', library, env });
  assert.deepEqual(await app.line(), { ready: true });
  app.say('checkpoint');
  const { error } = (await app.line()) as { error: { code: string; errors: string[] } };
  assert.equal(error.code, 'ERR_FORKPOINT_NO_RUNTIME');
  assert.match(error.errors[0] ?? '', /ENOENT/);
  assert.equal(app.stderr.join(''), '');
  await app.stop();
});

test('no value repeats between two clones, and nothing comes from a cache of before', async (t) => {
  const pod = await startPod(t);
  const draws: Record<string, unknown>[] = [];
  for (let round = 0; round < 2; round++) {
    pod.app.say('checkpoint /img');
    await prepare(pod);
    await pod.launcher.answer(pod.pid, { outcome: 'restored', ...CLONE });
    draws.push((await pod.app.line())['draw'] as Record<string, unknown>);
  }
  for (const name of ['uuid', 'int', 'bytes', 'math', 'captured']) {
    assert.notEqual(draws[0]?.[name], draws[1]?.[name], name);
  }
});

test('a failing before hook makes no image, and all hooks run after', async (t) => {
  const pod = await startPod(t);
  for (const command of ['register a', 'register fail-before', 'register fail-after']) pod.app.say(command);
  pod.app.say('checkpoint /img');
  await pod.launcher.next('prepare');
  await pod.launcher.answer(pod.pid, { outcome: 'prepared' });
  const cancel = await pod.launcher.next('cancel');
  assert.equal(cancel['message'], 'fail-before hook failed');
  assert.deepEqual(cancel['resources'], [{ kind: 'hook', what: 'fail-before hook failed', pid: pod.pid }]);
  await pod.launcher.answer(pod.pid, { outcome: 'failed', code: 'ERR_FORKPOINT_HOOK', message: 'cancelled' });
  for (let line = 0; line < 3; line++) await pod.app.line();
  const { error } = (await pod.app.line()) as { error: { name: string; code: string; errors: string[] } };
  assert.equal(error.name, 'CheckpointException');
  assert.equal(error.code, 'ERR_FORKPOINT_HOOK');
  assert.deepEqual(error.errors, ['fail-before hook failed', 'fail-after hook failed']);
  pod.app.say('state');
  assert.deepEqual((await pod.app.line())['log'], [
    'before fail-after',
    'before fail-before',
    'before a',
    'after a',
    'after fail-before',
    'after fail-after',
  ]);
});

test('a hook that hangs fails the checkpoint after its time limit, named by its class', async (t) => {
  const pod = await startPod(t);
  pod.app.say('register slow');
  pod.app.say('checkpoint /img');
  await pod.launcher.next('prepare');
  await pod.launcher.answer(pod.pid, { outcome: 'prepared' });
  assert.match(
    String((await pod.launcher.next('cancel'))['message']),
    /NamedResource did not end within 50 ms/,
  );
});

test('a failing after hook gives RestoreException; the others still run', async (t) => {
  const pod = await startPod(t);
  for (const command of ['register fail-after', 'register b']) pod.app.say(command);
  pod.app.say('stop /img');
  await prepare(pod);
  await pod.launcher.answer(pod.pid, { outcome: 'restored', ...CLONE });
  for (let line = 0; line < 2; line++) await pod.app.line();
  const { error } = (await pod.app.line()) as { error: { name: string; errors: string[] } };
  assert.equal(error.name, 'RestoreException');
  assert.deepEqual(error.errors, ['fail-after hook failed']);
  pod.app.say('state');
  const { log } = (await pod.app.line()) as { log: string[] };
  assert.equal(log.at(-1), 'after b');
});

test('what the worker finds before the hooks refuses the checkpoint without running any', async (t) => {
  const pod = await startPod(t);
  pod.app.say('register a');
  pod.app.say('checkpoint /img');
  await pod.launcher.next('prepare');
  const resources = [{ fd: 21, kind: 'socket', what: 'netlink' }];
  const failed = {
    outcome: 'failed',
    code: 'ERR_FORKPOINT_BLOCKED',
    message: 'a socket',
    hint: 'close it',
    resources,
  };
  await pod.launcher.answer(pod.pid, failed);
  await pod.app.line();
  const { error } = (await pod.app.line()) as { error: Record<string, unknown> };
  assert.equal(error['code'], 'ERR_FORKPOINT_BLOCKED');
  assert.equal(error['message'], 'a socket (close it)');
  assert.deepEqual(error['resources'], resources);
  pod.app.say('state');
  assert.deepEqual((await pod.app.line())['log'], []);
});

test('an image that could not be published rejects, and the next request works', async (t) => {
  const pod = await startPod(t);
  pod.app.say('checkpoint /img');
  await prepare(pod);
  const failed = { outcome: 'failed', code: 'ERR_FORKPOINT_DISK', message: 'disk full' };
  await pod.launcher.answer(pod.pid, { outcome: 'continued', pending: true }, failed);
  const { error } = (await pod.app.line()) as { error: { code: string } };
  assert.equal(error.code, 'ERR_FORKPOINT_DISK');
  pod.app.say('checkpoint /img2');
  await prepare(pod);
  await pod.launcher.answer(
    pod.pid,
    { outcome: 'continued', pending: true },
    { outcome: 'published', image: '/img2' },
  );
  assert.deepEqual((await pod.app.line())['result'], { outcome: 'continued', image: '/img2' });
});

test('requests of one process run one after another', async (t) => {
  const pod = await startPod(t);
  pod.app.say('both');
  for (const to of ['/a', '/b']) {
    assert.equal((await pod.launcher.next('prepare'))['to'], to);
    await pod.launcher.answer(pod.pid, { outcome: 'prepared' });
    await pod.launcher.next('ready');
    await pod.launcher.answer(
      pod.pid,
      { outcome: 'continued', pending: true },
      { outcome: 'published', image: to },
    );
  }
  const images = ((await pod.app.line())['results'] as { image: string }[]).map(({ image }) => image);
  assert.deepEqual(images, ['/a', '/b']);
});

test('a request from a hook is refused', async (t) => {
  const pod = await startPod(t);
  pod.app.say('nest');
  pod.app.say('checkpoint /img');
  await pod.app.line();
  await prepare(pod);
  await pod.launcher.answer(
    pod.pid,
    { outcome: 'continued', pending: true },
    { outcome: 'published', image: '/img' },
  );
  assert.deepEqual((await pod.app.line())['log'], ['ERR_FORKPOINT_NESTED']);
});

test('asked from outside, hooks run, and a failing one cancels', async (t) => {
  const pod = await startPod(t);
  pod.app.say('register a');
  await pod.app.line();
  pod.launcher.ask('one', [pod.pid]);
  await pod.launcher.next('ready');
  await pod.launcher.answer(pod.pid, { outcome: 'continued' });
  pod.app.say('register fail-before');
  await pod.app.line();
  pod.launcher.ask('two', [pod.pid]);
  const cancel = await pod.launcher.next('cancel');
  assert.deepEqual([cancel['ask'], cancel['message']], ['two', 'fail-before hook failed']);
  pod.app.say('state');
  const { log } = (await pod.app.line()) as { log: string[] };
  assert.deepEqual(log.slice(0, 2), ['before a', 'after a']);
});

test('SIGURG for another process, without an ask, or a second time does nothing', async (t) => {
  const pod = await startPod(t);
  process.kill(pod.pid, 'SIGURG');
  pod.launcher.ask('other', [process.pid]);
  process.kill(pod.pid, 'SIGURG');
  pod.launcher.ask('mine', [pod.pid]);
  assert.equal((await pod.launcher.next('ready'))['ask'], 'mine');
  await pod.launcher.answer(pod.pid, { outcome: 'continued' });
  process.kill(pod.pid, 'SIGURG');
  pod.app.say('state');
  await pod.app.line();
  assert.equal(pod.launcher.requests.filter(({ op }) => op !== 'join').length, 1);
});

test('a clone made from outside while a request waits asks again in its new pod', async (t) => {
  const pod = await startPod(t);
  pod.app.say('checkpoint /img');
  await pod.launcher.next('prepare');
  pod.launcher.ask('first', [pod.pid]);
  assert.equal((await pod.launcher.next('ready'))['ask'], 'first');
  await pod.launcher.answer(pod.pid, { outcome: 'restored', ...CLONE });
  assert.equal((await pod.launcher.next('prepare'))['to'], '/img');
  await pod.launcher.answer(pod.pid, { outcome: 'prepared' });
  await pod.launcher.next('ready');
  await pod.launcher.answer(
    pod.pid,
    { outcome: 'continued', pending: true },
    { outcome: 'published', image: '/img' },
  );
  assert.deepEqual((await pod.app.line())['result'], { outcome: 'continued', image: '/img' });
});

test('a program that has nothing to do ends with the library loaded, and is no member any more', async (t) => {
  const launcher = new FakeLauncher();
  t.after(() => launcher.close());
  const app = new Fixture('idle.cjs', { node: NODES[0]?.[1] ?? '', library, launcher });
  const code = await new Promise((resolve) => app.child.once('exit', resolve));
  assert.equal(code, 0, app.stderr.join(''));
  // The launcher may have read `join` only afterwards: a directory without info.json belongs to nobody.
  const members = readdirSync(join(launcher.directory, 'members'), { recursive: true, encoding: 'utf8' });
  assert.deepEqual(
    members.filter((name) => name.endsWith('info.json')),
    [],
  );
});

test('options of the wrong type are refused by name', async (t) => {
  const pod = await startPod(t);
  pod.app.say('wrong');
  const { codes } = (await pod.app.line()) as { codes: string[] };
  assert.deepEqual([...new Set(codes)], ['ERR_FORKPOINT_OPTIONS']);
});
