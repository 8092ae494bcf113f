import assert from 'node:assert/strict';
import { execFile } from 'node:child_process';
import { join } from 'node:path';
import { test } from 'node:test';
import { promisify } from 'node:util';
import { createPerson, eventually, root } from '@forkpoint/testkit';

test('the restore benchmark measures the same program every time, and prints ratios', async () => {
  const person = createPerson();
  try {
    const { code, stdout, stderr } = await person
      .start([process.execPath, join(root, 'bench/smoke.mjs'), person.home], { timeoutMs: 120_000 })
      .end();
    assert.equal(code, 0, stderr + stdout);
    assert.match(stdout, /stock criu \/ forkpoint +\d+\.\d+ \(\d/);
    assert.match(stdout, /our own part, all but CRIU +\d/);
    assert.match(stdout, /answers +[0-9a-f]{16} +the same in all/);
    const left = await promisify(execFile)('find', [
      person.home,
      '-name',
      'stock-*',
      '-o',
      '-name',
      'bench-*',
    ]);
    assert.equal(left.stdout, '');
    await eventually(
      async () => ((await person.json(['ps'])) as unknown[]).length === 0 || undefined,
      'every run having ended',
    );
  } finally {
    await person.leave();
  }
});
