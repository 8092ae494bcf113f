import assert from 'node:assert/strict';
import { test } from 'node:test';
import { dumpArguments } from '../src/index.ts';

const base = { root: 7001, imageDir: '/img', logName: 'dump.log', leave: 'running' } as const;

test('every dump is unprivileged, closes connections in clones and skips unfinished ones', () => {
  const args = dumpArguments(base);
  for (const word of [
    '--unprivileged',
    '--tcp-close',
    '--skip-in-flight',
    '--shell-job',
    '--leave-running',
    '--file-locks',
    '-v2',
  ]) {
    assert.ok(args.includes(word), word);
  }
  assert.equal(args[args.indexOf('--tree') + 1], '7001');
  assert.equal(args[args.indexOf('--images-dir') + 1], '/img');
});

test('options add what they name and nothing else', () => {
  const args = dumpArguments({
    ...base,
    leave: 'stopped',
    fileLocks: false,
    inotifyPaths: ['/a', '/b'],
    externalUnix: [12],
    verbosity: 4,
  });
  assert.ok(
    args.includes('--leave-stopped') && !args.includes('--leave-running') && !args.includes('--file-locks'),
  );
  assert.equal(args.filter((word) => word === '--irmap-scan-path').length, 2);
  assert.ok(args.includes('--force-irmap') && args.includes('unix[12]') && args.includes('-v4'));
  assert.ok(!dumpArguments(base).includes('--force-irmap'));
});
