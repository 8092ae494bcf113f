import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { test } from 'node:test';
import { encodeRestorePlan, restorePlanOf, serializeManifest } from '@forkpoint/manifest';
import type { Manifest } from '@forkpoint/manifest';
import { machine } from 'node:os';
import { sample } from '../../manifest/test/sample.ts';
import { install } from './helper.ts';
import type { Installed } from './helper.ts';

/** Writes an image of `sh -c exit` that this machine could restore. */
async function writeImage({ root, home }: Installed): Promise<string> {
  const image = join(root, 'img');
  const manifest: Manifest = {
    ...sample,
    command: ['sh', '-c', 'echo $0'],
    cwd: root,
    host: { ...sample.host, arch: machine(), cpu: ['1'] },
    processes: [{ pid: 50, parentPid: 1, threads: [50], command: ['sh'] }],
    members: [],
    slots: [],
    files: [],
    layers: [],
    controlDirectory: join(home, 'pod'),
  };
  await mkdir(image);
  await writeFile(join(image, 'manifest.json'), serializeManifest(manifest));
  const plan = restorePlanOf(manifest, {
    pidBase: 60,
    parts: [],
    locks: [],
    blocked: [],
    reads: [],
    terminal: null,
    hasIpcObjects: false,
    criu: [],
  });
  await writeFile(join(image, 'restore.plan'), encodeRestorePlan(plan));
  return image;
}

test("the launcher's short words become sentences, with 125", async (t) => {
  const installed = await install(t);
  const image = await writeImage(installed);
  for (const [reason, detail, expected] of [
    ['in-use', '127.0.0.1:80', /Caused by: The address 127\.0\.0\.1:80 is in use\nHint: Use --listen/],
    ['file', '/lib/x', /Caused by: The file \/lib\/x is missing or has changed/],
    [
      'locked',
      '/a.lock',
      /Caused by: Another process holds the lock of the file \/a\.lock.*\nHint: End the process/,
    ],
    ['no-slot', '99=1', /--listen 99=1 names no slot/],
    ['constructor', '/nowhere', /Caused by: constructor\n/],
  ] as const) {
    const { code, out, err } = await installed.run(
      'restore-explain',
      reason,
      detail,
      '--',
      './img',
      '-d',
      '--listen',
      '99=1',
    );
    assert.deepEqual([code, out], [125, ''], reason);
    assert.ok(err.startsWith(`Error: The image ${image} cannot be restored here\n`), err);
    assert.match(err, expected);
  }
});

test('what CRIU said is told when it failed', async (t) => {
  const installed = await install(t);
  await writeImage(installed);
  const log = '(00.1) one\n(00.2) Error (criu/files.c:12): Can not open it\n';
  const dir = join(installed.home, 'runs', '0123456789ab');
  await mkdir(dir, { recursive: true });
  await writeFile(join(dir, 'restore.log'), log);
  const { code, err } = await installed.run('restore-explain', 'restore engine 1', dir, '--', './img');
  assert.equal(existsSync(dir), false);
  assert.equal(code, 125);
  assert.match(
    err,
    /1: CRIU ended with exit code 1\n2: \(00\.2\) Error \(criu\/files\.c:12\): Can not open it\n$/,
  );
});

test('--or-run boots the command of the manifest with the arguments given, after one note', async (t) => {
  const installed = await install(t);
  await writeImage(installed);
  for (const option of ['--or-run', '--ignore-restore-if-unavailable']) {
    const words = ['./img', option, '--env', 'A=b', '--', 'x y'];
    const { code, out, err } = await installed.start('restore-explain', 'cpu', '0000ffff', '--', ...words);
    assert.equal(code, 0, err);
    assert.match(
      err,
      /^Note: .* cannot be restored \(.*processor features.*\); starting its command instead\.\n$/,
    );
    assert.match(out, /arg:4\nsh\n-c\necho \$0\nx y\n/);
    assert.match(out, /\nA\nb\n/);
  }
});

test('an image without findings goes to the launcher with the same words', async (t) => {
  const installed = await install(t);
  await writeImage(installed);
  const { code, out } = await installed.start('restore', './img', '-d', '--', 'a b');
  assert.deepEqual([code, out], [0, 'launcher <restore> <./img> <-d> <--> <a b>\n']);
});
