import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { linesOf, Project } from './vitest-projects.ts';

describe('the pool for Vitest', () => {
  let person: Person;
  before(() => void (person = createPerson()));
  after(async () => await person.leave());

  test('reports what the pool forks reports, of passing, failing, slow, mocking, typed and snapshot tests', async () => {
    const project = new Project(person, 'shop');
    const wanted = await project.run('forks');
    assert.equal(wanted.code, 1, wanted.stderr);
    const first = await project.run('forkpoint');
    assert.deepEqual(first.report, wanted.report, first.stderr);
    assert.deepEqual(linesOf(first), linesOf(wanted));
    // Now with the imports that the first run has shown, and the mold that is there.
    const second = await project.run('forkpoint');
    assert.deepEqual(second.report, wanted.report, second.stderr);
    assert.deepEqual(readdirSync(join(person.home, 'runs')), []);
  });

  test('is the pool forks where forkpoint is not set up, and says so in one line', async () => {
    const project = new Project(person, 'shop', 'elsewhere');
    const run = await project.run('forkpoint', ['test/mocks.test.mjs'], {
      env: { FORKPOINT_HOME: join(person.scratch, 'nowhere') },
    });
    assert.equal(run.code, 0, run.stdout + run.stderr);
    const said = run.stderr.split('\n').filter((line) => line.includes('forkpoint:'));
    assert.deepEqual(said, [
      "forkpoint: test files run in Vitest's pool forks, because it is not set up: run `npx forkpoint setup` once",
    ]);
    assert.equal(existsSync(join(person.scratch, 'nowhere')), false);
  });
});
