import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { Worker } from 'node:worker_threads';
import { removeRunCalled } from '../src/run-left.ts';

test('the run of a mold is removed while its launcher removes parts of it, and no other run is', async () => {
  const runs = mkdtempSync(join(tmpdir(), 'fp-runs-'));
  try {
    const make = (id: string, name: string): string => {
      const directory = join(runs, id);
      mkdirSync(join(directory, 'ctl/members'), { recursive: true });
      writeFileSync(join(directory, 'run.json'), JSON.stringify({ name }));
      return directory;
    };
    make('other', 'vitest-2');
    // As a launcher that leaves: it makes files and removes a tree of them, in fewer steps than there are tries. A try that fails needs one.
    const code = `
      const { rmSync, writeFileSync } = require('node:fs');
      const { parentPort, workerData } = require('node:worker_threads');
      parentPort.postMessage('at work');
      for (let at = 0; at < 14; at++) {
        try {
          writeFileSync(workerData + '/ctl/members/' + at, '');
        } catch {
          // The directory is gone.
        }
      }
      rmSync(workerData + '/ctl', { recursive: true, force: true });`;
    for (let round = 0; round < 5; round++) {
      const directory = make('mine', 'vitest-1');
      const worker = new Worker(code, { eval: true, workerData: directory });
      await new Promise((resolve) => worker.once('message', resolve));
      removeRunCalled(runs, 'vitest-1');
      await worker.terminate();
      assert.deepEqual(readdirSync(runs), ['other']);
    }
    removeRunCalled(join(runs, 'nowhere'), 'vitest-1');
  } finally {
    rmSync(runs, { recursive: true, force: true });
  }
});
