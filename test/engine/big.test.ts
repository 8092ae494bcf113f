import assert from 'node:assert/strict';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { detach, logged, revive } from './pods.ts';

const GIB = 2 ** 30;

describe('a program with a heap of 1 GiB', () => {
  let person: Person;
  before(() => {
    person = createPerson();
  });
  after(async () => await person.leave());

  test('comes back with every byte and every object', { timeout: 120_000 }, async () => {
    const id = await detach(person, [nodeBinary(24), '--max-old-space-size=3072', programPath('big.mjs')]);
    await logged(person, id, /^up$/m, 60_000);
    await person.finish(['kill', id, '--signal', 'USR1']);
    const [, before = ''] = await logged(person, id, /^digest (.+)$/m, 60_000);
    const taken = (await person.json(['checkpoint', id, './big', '--stop', '--no-sync', '--timeout', '60'], {
      timeoutMs: 90_000,
    })) as {
      sizes: { total: number };
    };
    assert.ok(taken.sizes.total >= GIB, `${taken.sizes.total} bytes`);
    const onDisk = readdirSync(join(person.scratch, 'big'), { recursive: true, encoding: 'utf8' })
      .map((name) => statSync(join(person.scratch, 'big', name)).size)
      .reduce((sum, size) => sum + size, 0);
    assert.ok(onDisk < 1.5 * GIB, `${onDisk} bytes on disk`);
    const clone = await revive(person, './big');
    await person.finish(['kill', clone, '--signal', 'USR1']);
    const [, afterwards = ''] = await logged(person, clone, /^digest (.+)$/m, 60_000);
    assert.equal(afterwards, before);
  });
});
