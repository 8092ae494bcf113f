import assert from 'node:assert/strict';
import { chmod, mkdir, stat, unlink, writeFile } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { AddressInfo } from 'node:net';
import { machine } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { encodeEnginePlan, encodeRestorePlan, restorePlanOf, serializeManifest } from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import { coversCpu, isAtLeast, parseCpuWords, preflight } from '../src/index.ts';
import type { PreflightOptions } from '../src/index.ts';
import { sample } from '../../manifest/test/sample.ts';
import { temporaryDirectory } from './fake-run.ts';

interface Scene {
  readonly root: string;
  readonly image: string;
  readonly options: PreflightOptions;
  readonly manifest: Manifest;
  readonly write: (manifest: Manifest) => Promise<void>;
  readonly messages: () => Promise<string[]>;
}

/** Makes an image that this machine could restore. */
async function restorable(t: TestContext): Promise<Scene> {
  const root = await temporaryDirectory(t);
  const image = join(root, 'img');
  const options = {
    launcher: join(root, 'launcher'),
    enginePlan: join(root, 'engine.plan'),
    runs: join(root, 'runs'),
  };
  await mkdir(image);
  await writeFile(options.launcher, '#!/bin/sh\necho 000000ff 00000003\n');
  await chmod(options.launcher, 0o755);
  await writeFile(options.enginePlan, encodeEnginePlan({ criu: [options.launcher], version: '4.2.1' }));
  await writeFile(join(root, 'program'), 'x');
  const facts = await stat(join(root, 'program'), { bigint: true });
  await writeFile(join(image, 'pages-1.img'), Buffer.alloc(4096));
  const manifest: Manifest = {
    ...sample,
    cwd: root,
    host: { ...sample.host, arch: machine(), cpu: ['0000000f', '00000001'] },
    processes: [{ pid: 50, parentPid: 1, threads: [50, 51], command: ['x'] }],
    members: [],
    slots: [],
    files: [
      { path: join(root, 'program'), size: 1, mtimeNs: String(facts.mtimeNs), buildId: null, sha256: null },
    ],
    controlDirectory: join(root, 'pod'),
  };
  const write = async (value: Manifest): Promise<void> => {
    await writeFile(join(image, 'manifest.json'), serializeManifest(value));
    await writeFile(
      join(image, 'restore.plan'),
      encodeRestorePlan(
        restorePlanOf(value, {
          pidBase: 60,
          criu: [],
          parts: [{ name: 'pages-1.img', size: 4096 }],
          locks: [],
          blocked: [],
          reads: [],
          terminal: null,
          hasIpcObjects: false,
        }),
      ),
    );
  };
  await write(manifest);
  const messages = async (): Promise<string[]> =>
    (await preflight(image, options)).map((finding) => finding.message);
  return { root, image, options, manifest, write, messages };
}

test('an image that can be restored has no findings', async (t) => {
  assert.deepEqual(await (await restorable(t)).messages(), []);
});

test('every reason is told at once', async (t) => {
  const { root, image, manifest, options, write, messages } = await restorable(t);
  const server = createServer().listen(0, '127.0.0.1');
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  const { port } = server.address() as AddressInfo;
  const tcp = {
    kind: 'tcp',
    key: 'k',
    flags: 2,
    isPollable: true,
    fds: [],
    family: 4,
    address: '127.0.0.1',
    backlog: 5,
    options: [],
  } as const;
  await write({
    ...manifest,
    cwd: join(root, 'gone'),
    host: { ...manifest.host, cpu: ['00000100', '00000001'] },
    engine: { criu: '5.0', forkpoint: '0.1.0' },
    processes: [{ pid: 4_194_304, parentPid: 1, threads: [4_194_304], command: ['x'] }],
    slots: [
      { ...tcp, id: 'used', port },
      { ...tcp, id: 'strange', port: 1024, address: '192.0.2.1' },
    ],
    files: [
      ...manifest.files,
      { path: join(root, 'lost'), size: null, mtimeNs: null, buildId: null, sha256: null },
    ],
    controlDirectory: join(options.launcher, 'pod'),
  });
  await writeFile(join(root, 'program'), 'longer');
  await writeFile(join(image, 'pages-1.img'), 'short');
  const found = (await messages()).join('\n');
  for (const part of [
    'taken with CRIU 5.0, and CRIU here is 4.2.1',
    'processor features',
    'pages-1.img has 5 bytes instead of 4096',
    'program has changed since the checkpoint',
    'lost is missing',
    `127.0.0.1:${port} is in use`,
    '192.0.2.1:1024 does not exist on this machine',
    'gone cannot be used: no such file or directory',
    'pid 4194304, and pids here end at',
    'cannot be made: not a directory',
  ]) {
    assert.ok(found.includes(part), `${part}\n--\n${found}`);
  }
});

test('without engine and launcher the set-up is asked for', async (t) => {
  const { options, image } = await restorable(t);
  await unlink(options.launcher);
  await unlink(options.enginePlan);
  const found = await preflight(image, options);
  assert.deepEqual(
    found.map((finding) => finding.kind),
    ['launcher', 'engine'],
  );
  assert.ok(found.every((finding) => finding.hint === 'Run `forkpoint setup`'));
});

test('a newer or broken image is told as such', async (t) => {
  const { image, options } = await restorable(t);
  await writeFile(join(image, 'manifest.json'), '{"formatVersion":9}');
  assert.deepEqual(
    (await preflight(image, options)).map((finding) => finding.kind),
    ['newer'],
  );
  await writeFile(join(image, 'manifest.json'), '');
  assert.deepEqual(
    (await preflight(image, options)).map((finding) => finding.kind),
    ['image'],
  );
});

test('a socket file is free when nobody answers there', async (t) => {
  const { root, manifest, write, messages } = await restorable(t);
  const path = join(root, 's');
  const unix = {
    kind: 'unix',
    socketType: 'stream',
    key: 'k',
    flags: 2,
    isPollable: true,
    fds: [],
    id: 'u',
    backlog: 5,
    mode: 0o755,
  } as const;
  await write({ ...manifest, slots: [{ ...unix, path }] });
  assert.deepEqual(await messages(), []);
  const server = createServer().listen(path);
  // A server that a failed test leaves open would keep the whole test run alive.
  t.after(() => server.close());
  await new Promise((resolve) => server.once('listening', resolve));
  assert.deepEqual(await messages(), [`the address ${path} is in use`]);
  await new Promise((resolve) => server.close(resolve));
  await writeFile(path, '');
  assert.deepEqual(await messages(), [`${path} is in the way of a socket and is none itself`]);
});

test('a processor covers an image when it has all its bits', () => {
  assert.equal(coversCpu(['ff', '1'], ['0f', '1']), true);
  assert.equal(coversCpu(['0f'], ['10']), false);
  assert.equal(coversCpu(['ff'], ['ff', '1']), false);
  assert.equal(coversCpu(['ff'], ['ff', '0']), true);
  assert.deepEqual(parseCpuWords('00ff AB\n'), ['00ff', 'AB']);
  assert.equal(parseCpuWords('usage: x'), undefined);
  assert.equal(parseCpuWords(''), undefined);
});

test('versions are compared by major and minor number', () => {
  assert.ok(isAtLeast('4.2', '4.2.1'));
  assert.ok(isAtLeast('4.10', '4.2'));
  assert.ok(isAtLeast('5.0', '4.9'));
  assert.ok(!isAtLeast('4.1.9', '4.2'));
});
