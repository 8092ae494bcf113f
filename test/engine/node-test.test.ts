import assert from 'node:assert/strict';
import { chownSync, cpSync, readdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { createPerson, eventually, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Finished, Person } from '@forkpoint/testkit';
import { command, living } from './pods.ts';

const STALL = `const test = require('node:test');
test('stalls', async () => {
  console.log('stalled');
  await new Promise((resolve) => setTimeout(resolve, 60_000));
});
`;

interface Placed {
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** As from a shell: these tests are files of `node --test` themselves. */
const OUTSIDE = { NODE_TEST_CONTEXT: undefined, NODE_TEST_WORKER_ID: undefined };

describe('forkpoint test', () => {
  let person: Person;
  before(() => void (person = createPerson()));
  after(async () => await person.leave());

  /** A copy of the project with test files of all kinds. */
  function projectAt(name: string): string {
    const directory = join(person.scratch, name);
    cpSync(programPath('node-test'), directory, { recursive: true });
    // Git keeps no node_modules.
    renameSync(join(directory, 'packages'), join(directory, 'node_modules'));
    // TypeScript that belongs to no project of ours.
    writeFileSync(
      join(directory, 'test/typed.test.mts'),
      "import test from 'node:test';\nimport heavy from 'heavy';\nconst count: number = heavy.count();\ntest(`typed ${count}`, () => undefined);\n",
    );
    if (process.getuid?.() === 0)
      for (const path of ['.', ...readdirSync(directory, { recursive: true, encoding: 'utf8' })])
        chownSync(resolve(directory, path), person.uid, person.uid);
    return directory;
  }

  async function ordinary(args: readonly string[], options: Placed): Promise<Finished> {
    const { cwd, env } = options;
    const own = { ...OUTSIDE, ...env };
    return await person
      .start([nodeBinary(24), '--test', ...args], { timeoutMs: 120_000, cwd, env: own })
      .end();
  }

  async function forked(args: readonly string[], options: Placed): Promise<Finished> {
    const { cwd, env } = options;
    const own = { ...OUTSIDE, ...env };
    return await person.finish(['test', '--', ...args], { timeoutMs: 120_000, cwd, env: own });
  }

  /** The records of all molds. */
  function molds(): string[] {
    const directory = join(person.home, 'cache/test');
    const names = readdirSync(directory).filter((name) => !name.endsWith('.json'));
    return names.map((name) => readFileSync(join(directory, name, 'mold.json'), 'utf8'));
  }

  test('reports what node --test reports, of files that pass, fail, throw, exit, die and poison', async () => {
    const cwd = projectAt('whole');
    const args = ['--test-reporter=tap'];
    const wanted = await ordinary(args, { cwd });
    assert.equal(wanted.code, 1, wanted.stderr);
    assert.match(wanted.stdout, /^# fail [1-9]/m);
    // The second run knows all files.
    for (const round of ['first', 'second']) {
      const run = await forked(args, { cwd });
      assert.deepEqual(comparable(run), comparable(wanted), round);
    }
    const imported = molds().map((record) => (JSON.parse(record) as { imports: string[] }).imports.join(' '));
    assert.ok(
      imported.some((ids) => / ?import\|\S*\|heavy/.test(ids)),
      imported.join('\n'),
    );
    // It changes what others see.
    assert.ok(!imported.some((ids) => ids.includes('|loud')), imported.join('\n'));
    assert.deepEqual(readdirSync(join(person.home, 'runs')), []);
  });

  test('takes options of node, files of the project that node loads before each test, and patterns', async () => {
    const cwd = projectAt('options');
    const env = { WANTS_SETUP: '1' };
    const count = molds().length;
    const files = ['test/main.test.cjs', 'test/poiso*.test.cjs'];
    const args = [
      '--require',
      'heavy',
      '--import=./setup.mjs',
      '--test-name-pattern=started|poison',
      ...files,
    ];
    const wanted = await ordinary(args, { cwd, env });
    assert.equal(wanted.code, 0, wanted.stdout);
    for (const round of ['makes a mold', 'finds it']) {
      const run = await forked(args, { cwd, env });
      assert.deepEqual(comparable(run), comparable(wanted), round);
    }
    assert.equal(molds().length, count + 1);
  });

  test('is node --test where files cannot be forked, and says so in one line', async () => {
    const cwd = projectAt('elsewhere');
    const file = 'test/poisoned.test.cjs';
    for (const [args, env, why] of [
      [
        [file],
        { FORKPOINT_HOME: join(person.scratch, 'nowhere') },
        'it is not set up: run `npx forkpoint setup` once',
      ],
      [['--experimental-test-coverage', file], {}, 'coverage is of one process from its start'],
    ] as const) {
      const wanted = await ordinary(args, { cwd });
      const run = await forked(args, { cwd, env });
      const [line, ...rest] = run.stderr.split('\n');
      assert.equal(line, `forkpoint: each test file runs in a process of its own, because ${why}`);
      assert.deepEqual(comparable({ ...run, stderr: rest.join('\n') }), comparable(wanted));
    }
  });

  test('is node --test where user namespaces are forbidden, and says so in one line', async () => {
    const cwd = projectAt('forbidden');
    const file = 'test/poisoned.test.cjs';
    // Within a namespace of its own a process may forbid itself further ones (user_namespaces(7)).
    const forbid = 'echo 0 > /proc/sys/user/max_user_namespaces && exec "$@"';
    const words = ['unshare', '--user', '--map-root-user', 'sh', '-c', forbid, 'sh'];
    const wanted = await ordinary([file], { cwd });
    const run = await person
      .start([...words, command, 'test', '--', file], { cwd, timeoutMs: 120_000, env: OUTSIDE })
      .end();
    const [line = '', ...rest] = run.stderr.split('\n');
    assert.match(line, /^forkpoint: each test file runs in a process of its own, because .*namespaces/);
    assert.deepEqual(comparable({ ...run, stderr: rest.join('\n') }), comparable(wanted));
    assert.deepEqual(readdirSync(join(person.home, 'runs')), []);
  });

  test('a package that says something else is in no mold that is used afterwards', async () => {
    const cwd = projectAt('changing');
    const path = join(cwd, 'test/says.test.cjs');
    writeFileSync(
      path,
      "const said = require('heavy').said;\nrequire('node:test')(`says ${said}`, () => undefined);\n",
    );
    const heavy = join(cwd, 'node_modules/heavy/index.js');
    for (const said of ['first', 'second']) {
      writeFileSync(heavy, `exports.said = '${said}';\n`);
      const run = await forked(['--test-reporter=tap', 'test/says.test.cjs'], { cwd });
      assert.match(run.stdout, new RegExp(`says ${said}`), run.stderr);
    }
  });

  test('leaves nothing when it is interrupted', async () => {
    const cwd = projectAt('ended');
    writeFileSync(join(cwd, 'stall.test.cjs'), STALL);
    const running = person.forkpoint(['test', '--', '--test-reporter=tap', 'stall.test.cjs'], {
      cwd,
      env: OUTSIDE,
    });
    await running.output(/stalled/, 60_000);
    assert.equal((await living(person)).length, 1);
    await running.stop('SIGINT');
    // The end of the run, and of what it has on the disk.
    const runs = join(person.home, 'runs');
    await eventually(() => (readdirSync(runs).length === 0 ? true : undefined), 'the end of the fork');
  });
});

/**
 * An exit code and output without times, random numbers and the end of stacks, where it shows who has started the file. What a file
 * writes to stderr comes by a pipe of its own, so that nobody knows where it will be in the report.
 */
function comparable({ code, stdout, stderr }: Finished): {
  code: number | null;
  lines: string[];
  notes: string[];
} {
  const lines = `${stdout}\n--\n${stderr}`
    .split('\n')
    .filter((line) => !/run_main|test-mold\.cjs|processImmediate|at .*node:internal\/main/.test(line))
    .map((line) =>
      line
        .replaceAll(/(duration_ms:?) [\d.]+/g, '$1 0')
        .replaceAll(/[\d.]+ms\b/g, '0ms')
        .replace(/drawn .*/, 'drawn'),
    );
  return {
    code,
    lines: lines.filter((line) => !line.startsWith('#')),
    notes: lines.filter((line) => line.startsWith('#')).sort(),
  };
}
