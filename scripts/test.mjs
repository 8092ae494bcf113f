// Set-up, checks and all tests. Usage: npm test; npm run test:unit|test:engine|test:languages [-- FILE...]
// What failed is told once more at the end; the last line is `N passed, N failed`.
import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { isSeen, lendEngine, showToOthers } from './lib/share.mjs';
import { failuresOf } from './lib/tap.mjs';
import { setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const [part = 'all', ...files] = process.argv.slice(2);
const node = join(root, 'node_modules/node24/bin/node');
let passed = 0;
let failed = 0;
const failures = [];

/** Starts a process and resolves to its exit code; with `isQuiet` its output is shown once it has ended. */
function finish(argv, { env, isQuiet }) {
  return new Promise((resolve) => {
    const out = isQuiet ? 'pipe' : 'inherit';
    const child = spawn(argv[0], argv.slice(1), { cwd: root, stdio: ['ignore', out, out], env });
    const chunks = [];
    child.stdout?.on('data', (chunk) => chunks.push(chunk));
    child.stderr?.on('data', (chunk) => chunks.push(chunk));
    child.once('error', () => resolve({ status: 1, output: '' }));
    child.once('close', (status) => resolve({ status, output: Buffer.concat(chunks).toString() }));
  });
}

/** Runs a set of test files and adds up their figures; with `pool`, so many at a time, the longest first. */
async function run(name, patterns, { env = {}, flags = [], pool, isQuiet = false } = {}) {
  if (!isQuiet) console.log(`\n# ${name}`);
  const directory = mkdtempSync(join(tmpdir(), 'fp-report-'));
  const report = join(directory, 'report.tap');
  const reporters = [
    '--test-reporter=spec',
    '--test-reporter-destination=stdout',
    '--test-reporter=tap',
    `--test-reporter-destination=${report}`,
  ];
  const runner =
    pool === undefined
      ? ['--test', ...reporters, ...flags, ...patterns]
      : [...flags, join(root, 'scripts/lib/run-tests.mjs'), String(pool), report, ...patterns];
  const { status, output } = await finish([node, ...runner], {
    env: { ...process.env, NODE_OPTIONS: '', ...env },
    isQuiet,
  });
  if (isQuiet) console.log(`\n# ${name}\n${output.trimEnd()}`);
  const text = existsSync(report) ? readFileSync(report, 'utf8') : '';
  const figure = (key) => Number(new RegExp(`^# ${key} (\\d+)`, 'm').exec(text)?.[1] ?? 0);
  const bad = figure('fail') + figure('cancelled') + figure('skipped') + figure('todo');
  passed += figure('pass');
  failures.push(...failuresOf(text));
  // A runner that dies without a report has failed, and so has one that ran nothing.
  failed += Math.max(bad, status === 0 && figure('pass') > 0 ? 0 : 1);
  rmSync(directory, { recursive: true, force: true });
}

async function check() {
  const { status, output } = await finish([process.execPath, join(root, 'scripts/check.mjs')], {
    env: process.env,
    isQuiet: true,
  });
  console.log(`\n# checks\n${output.trimEnd()}`);
  return status === 0;
}

/** Unit tests: neither root nor CRIU. Pure packages share one process; the rest start processes and have one each. */
async function unitTests() {
  // Node keeps what it compiles, types stripped, from one run to the next.
  const env = { NODE_COMPILE_CACHE: join(root, '.forkpoint/compile-cache') };
  if (files.length > 0) return await run('unit tests', files, { env });
  const pure = '{image,manifest,linker,rewrite,store}';
  const rest = readdirSync(join(root, 'packages')).filter(
    (name) => !pure.slice(1, -1).split(',').includes(name),
  );
  const started = performance.now();
  await Promise.all([
    run(
      'unit tests: what starts processes',
      [`packages/{${rest.join(',')}}/test/*.test.ts`, 'test/*.test.ts'],
      {
        env,
        flags: ['--test-concurrency=2'],
      },
    ),
    run('unit tests: pure packages and the store', [`packages/${pure}/test/*.test.ts`], {
      env,
      flags: ['--test-isolation=none'],
      isQuiet: true,
    }),
  ]);
  console.log(`unit tests took ${((performance.now() - started) / 1000).toFixed(1)} s`);
}

/** Walks through hundreds of cases, what compiles C and what starts many processes need no engine, but more time than unit tests have. */
const ENGINE = ['test/engine/*.test.ts', 'packages/*/test/walks/*.test.ts'];
/** Runtimes that are heavy to fetch and slow to start. */
const LANGUAGES = ['test/languages/*.test.ts'];

/**
 * Real programs and the real engine. Four at a time: each waits for a third of its time, and the machine is small. Languages are among
 * them, so that no lane stands idle at the end of one set.
 */
async function engineTests(name, patterns) {
  const { engine, remove } = lendEngine();
  // A test that hangs is ended and named, long before anybody loses patience.
  const flags = ['--test-timeout=600000', `--import=${join(root, 'scripts/lib/compile-cache.mjs')}`];
  const began = performance.now();
  await run(name, files.length > 0 ? files : patterns, {
    env: { FORKPOINT_TEST_ENGINE: engine },
    ...(files.length > 0 ? { flags: [...flags, '--test-concurrency=3'] } : { flags, pool: 4 }),
  });
  console.log(`${name} took ${((performance.now() - began) / 1000).toFixed(1)} s`);
  remove();
}

/** Mutated images, with a seed of its own in each run, beside tests that wait more than they compute. */
async function fuzz() {
  const argv = ['nice', process.execPath, join(root, 'scripts/fuzz.mjs'), '--seconds', '60'];
  const { status, output } = await finish(argv, { env: process.env, isQuiet: true });
  console.log(`\n# fuzz\n${output.trimEnd()}`);
  if (status === 0) passed++;
  else failed++;
}

/** What is needed later is fetched, unpacked and built beside what needs it not. */
async function everything(checks) {
  const prepared = setup({ runtimes: true, languages: true });
  if (await checks) passed++;
  else failed++;
  await unitTests();
  await prepared;
  await Promise.all([engineTests('engine and language tests', [...ENGINE, ...LANGUAGES]), fuzz()]);
}

/** The checks, beside the set-up; when this checkout is shown by a process around this one, that one has made them. */
function startChecks() {
  const { FORKPOINT_TEST_CHECKED: told } = process.env;
  delete process.env.FORKPOINT_TEST_CHECKED;
  return told === undefined ? check() : Promise.resolve(told === 'true');
}

const isWhole = part === 'all';
await setup();
const checks = isWhole ? startChecks() : undefined;
// What is prepared for a checkout that is shown elsewhere has to be prepared before: it notes where it lies.
if (!isWhole || !isSeen())
  await setup({ runtimes: part !== 'unit', languages: isWhole || part === 'languages' });
if (!isSeen() && isWhole) process.env.FORKPOINT_TEST_CHECKED = String(await checks);
showToOthers(fileURLToPath(import.meta.url));
if (isWhole) await everything(checks);
if (part === 'unit') await unitTests();
if (part === 'engine') await engineTests('engine tests', ENGINE);
if (part === 'languages') await engineTests('language tests', LANGUAGES);
for (const { name, location, error } of failures)
  console.log(`\nfailed: ${name} (${location.replace(`${root}/`, '')})\n${error}`);
console.log(`\n${passed} passed, ${failed} failed`);
process.exitCode = failed === 0 ? 0 : 1;
