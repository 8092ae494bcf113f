import assert from 'node:assert/strict';
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { askNative, begin, beginNative, compileNative, copyOf } from './scenarios.ts';

describe('what cannot be checkpointed', () => {
  let person: Person;
  let native: string;
  before(async () => {
    person = createPerson();
    native = await compileNative(person);
  });
  after(async () => await person.leave());

  const refused: readonly [scenario: string, argument: string, report: RegExp][] = [
    ['semaphore', '', /eventfd-semaphore: .*semaphore.* \(pid \d+, fd 3\)/],
    ['userfaultfd', '', /userfaultfd: .* \(pid \d+, fd 3\)/],
    ['secret', '', /memfd_secret: .*\(pid \d+, fd 3\)/],
    ['sysv', '', /sysv-shm: System V shared memory/],
    ['seccomp', '', /seccomp: .*seccomp filter/],
    ['traced', '', /traced: process \d+ is being traced/],
    ['linked', 'first-name', /deleted-name: .*first-name: .* \(pid \d+, fd 3\)/],
  ];
  for (const [scenario, argument, report] of refused) {
    test(`${scenario}: is named, and the program goes on`, async () => {
      const id = await beginNative(person, native, scenario, argument);
      for (const flags of [[], ['--dry-run']]) {
        const { code, stderr } = await person.finish(['checkpoint', id, './refused', ...flags]);
        assert.equal(code, 1, stderr);
        assert.match(stderr, report);
      }
      assert.equal(existsSync(join(person.scratch, 'refused')), false);
      await askNative(person, id);
    });
  }

  test('a program that was replaced while it runs is named', async () => {
    const copy = copyOf(person, native);
    const id = await beginNative(person, copy, 'replaced', copy);
    const { code, stderr } = await person.finish(['checkpoint', id, '--dry-run']);
    assert.equal(code, 1);
    assert.match(stderr, /deleted-program: .*descriptors-copy was replaced/);
  });

  test('everything is told in one report', async () => {
    const id = await beginNative(person, native, 'many');
    const { stderr } = await person.finish(['checkpoint', id, '--dry-run']);
    assert.match(stderr, /3 things stand in the way/);
    for (const kind of ['eventfd-semaphore', 'userfaultfd', 'seccomp'])
      assert.match(stderr, new RegExp(`${kind}: `));
    assert.equal(await askNative(person, id), 'alive');
  });

  test('a dry run of a program without faults says so, and leaves nothing behind', async () => {
    const original = await begin(person, 'none');
    const { code, stderr } = await person.finish(['checkpoint', original.run.id, './dry', '--dry-run']);
    assert.equal(code, 0, stderr);
    assert.equal(existsSync(join(person.scratch, 'dry')), false);
    assert.deepEqual(await original.state(), {});
  });
});
