import assert from 'node:assert/strict';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { living } from './pods.ts';
import { linesOf, Project } from './vitest-projects.ts';

const STALL = `import { test } from 'vitest';
test('stalls', { timeout: 60_000 }, async () => {
  process.stdout.write('stalled\\n');
  await new Promise((resolve) => setTimeout(resolve, 60_000));
});
`;

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
    // This version of Vitest is as the rehearsal takes it to be.
    assert.match(project.molds(), /"isRehearsed":true/);
    assert.doesNotMatch(project.molds(), /"isRehearsed":false/);
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

  test('runs projects with jsdom, happy-dom and React as forks does, and no file meets what another one has poisoned', async () => {
    const project = new Project(person, 'town');
    // The report has the coverage in it.
    const args = ['--coverage.enabled', '--coverage.provider=v8'];
    const wanted = await project.run('forks', args);
    assert.match(JSON.stringify(wanted.report), /"coverageMap":.*"unused"/);
    for (const round of ['first', 'second']) {
      const run = await project.run('forkpoint', args);
      assert.deepEqual(run.report, wanted.report, `${round}: ${run.stderr}`);
      const drawn = [...run.stdout.matchAll(/^uuid (\S+)$/gm)].map((match) => match[1]);
      assert.equal(drawn.length, 3, run.stdout);
      assert.equal(new Set(drawn).size, 3);
    }
  });

  test('watches: a package that was changed in place is in no mold that is used afterwards', async () => {
    const project = new Project(person, 'watched');
    // Teaches that the package belongs into the mold.
    const taught = await project.run('forkpoint');
    const watch = project.start('watch', ['--reporter=verbose']);
    await watch.output(/said first[\s\S]*Waiting for file changes/, 60_000);
    project.write('node_modules/said/index.js', "exports.said = 'second';\n");
    project.write('one.test.mjs', `${project.read('one.test.mjs')}\n`);
    await watch.output(/said second[\s\S]*Waiting for file changes/, 60_000);
    await watch.stop('SIGINT');
    const why = [project.molds(), project.learned(), taught.stderr, watch.stderr].join('\n');
    assert.ok(project.molds().includes('node_modules/said/index.js'), why);
    assert.deepEqual(readdirSync(join(person.home, 'runs')), []);
  });

  test('leaves nothing when it is interrupted or killed while a file runs', async () => {
    const project = new Project(person, 'watched', 'ended');
    project.write('stall.test.mjs', STALL);
    for (const signal of ['SIGINT', 'SIGKILL'] as const) {
      const running = project.start('run', ['stall.test.mjs']);
      await running.output(/stalled/, 60_000);
      assert.equal((await living(person)).length, 1);
      await running.stop(signal);
      await eventually(
        async () => ((await living(person)).length === 0 ? true : undefined),
        'the end of clones',
      );
    }
    const left = readdirSync(join(person.home, 'cache')).filter((name) => name !== 'vitest');
    assert.deepEqual(
      left.filter((name) => !name.endsWith('.json') && !name.endsWith('.sock')),
      [],
    );
  });

  test('with bail, shards, filters by name, one process for all files and without Vite’s module runner as forks does', async () => {
    const project = new Project(person, 'watched', 'options');
    project.write('two.test.mjs', project.read('one.test.mjs').replace("'first'", "'nothing'"));
    for (const args of [
      ['--shard=1/2', '--bail=1', '--no-file-parallelism'],
      ['--no-isolate', '-t', 'says'],
      // Modules that Vitest does not fetch cannot be rehearsed.
      ['--experimental.viteModuleRunner=false', 'one.test.mjs'],
    ]) {
      const wanted = await project.run('forks', args);
      const run = await project.run('forkpoint', args);
      assert.deepEqual(run.report, wanted.report, `${args.join(' ')}: ${run.stderr}`);
      assert.equal(run.code, wanted.code);
      assert.doesNotMatch(run.stderr, /^forkpoint:/m);
    }
  });

  test('`forkpoint vitest --compare` times the three ways, and says so when the pool is not in use', async () => {
    const project = new Project(person, 'watched', 'compared');
    const env = { FORKPOINT_NODE: nodeBinary(24) };
    const options = { cwd: project.directory, env };
    const { code, stdout, stderr } = await person.finish(['vitest', '--compare', '--rounds', '1'], options);
    assert.equal(code, 0, stderr);
    const row = (name: string): RegExp => new RegExp(`^${name} +\\d+\\.\\d\\d s +\\d+\\.\\dx +2 +0$`, 'm');
    for (const name of ['isolated', 'forkpoint', 'not isolated']) assert.match(stdout, row(name));
    assert.match(stdout, /^isolated and forkpoint report the same in every round$/m);
    const ordinary = await person.finish(['vitest', '--compare'], {
      ...options,
      env: { ...env, ORDINARY: '1' },
    });
    assert.equal(ordinary.code, 1);
    assert.match(ordinary.stderr, /does not use forkpoint[\s\S]*Hint: Set `pool: forkpoint\(\)`/);
  });
});
