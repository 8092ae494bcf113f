import assert from 'node:assert/strict';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { digestLater } from '../src/digest.ts';

test('images whose digests another request has cut short wait for the next checkpoint of their run', async () => {
  const home = mkdtempSync(join(tmpdir(), 'fp-digest-'));
  const runDirectory = join(home, 'run');
  mkdirSync(runDirectory);
  const due = join(runDirectory, 'digests-due.json');
  const hurried = AbortSignal.abort(new Error('another request came first'));
  await digestLater('/images/one', { home, runDirectory }, hurried);
  await digestLater('/images/two', { home, runDirectory }, hurried);
  await digestLater('/images/one', { home, runDirectory }, hurried);
  assert.deepEqual(JSON.parse(readFileSync(due, 'utf8')), ['/images/two', '/images/one']);
  await digestLater('/images/three', { home, runDirectory }, new AbortController().signal);
  assert.equal(existsSync(due), false);
  rmSync(home, { recursive: true });
});
