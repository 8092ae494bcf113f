// Suites of tests in Vitest: a process per file, a fork of a mold per file, and without isolation. What the first two report has to
// be equal in every round: passed, failed, snapshots, messages, coverage.
import { spawn } from 'node:child_process';
import { createHash } from 'node:crypto';
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, statSync } from 'node:fs';
import { cpus, loadavg } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { nodeUnderTest } from '../scripts/lib/runtimes.mjs';
import { interleave, pairs, shown, summary, table } from './driver.mjs';
import { SUITE_NAMES, writeSuite } from './test-suites.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const SIZES = {
  smoke: { suites: ['express'], counts: [4], rounds: 0 },
  quick: { suites: SUITE_NAMES, counts: [12, 50], rounds: 3 },
  full: { suites: SUITE_NAMES, counts: [12, 50, 200], rounds: 7 },
};
const LIMIT_MS = 600_000;
const FASTER_TARGET = 5;
const SLOWER_TARGET = 1.3;
/** In a pid namespace of their own all processes end up with its first one, which knows what they have used. */
const METER = 'shift; "$@"; code=$?; times >&3; exit $code';

/** Runs the benchmark in a data directory in which set-up has been done; `part` names suites. */
export async function benchTests({
  home,
  size = 'quick',
  part,
  counts = SIZES[size].counts,
  rounds = SIZES[size].rounds,
  progress = () => undefined,
}) {
  const { suites } = SIZES[size];
  const chosen = part === undefined ? suites : part.split(',');
  const results = [];
  const isMetered = await canMeter();
  for (const count of counts)
    for (const name of chosen) {
      const work = mkdtempSync(join(home, 'bench-tests-'));
      try {
        writeSuite(root, join(work, 'suite'), name, count);
        const say = (text) => progress(`${name}, ${count} files: ${text}`);
        results.push({ name, count, ...(await measure({ work, home, rounds, isMetered, say })) });
      } finally {
        rmSync(work, { recursive: true, force: true });
      }
    }
  return { size, rounds, results, cpu: cpus()[0]?.model ?? '', cores: cpus().length, load: loadavg()[0] };
}

async function measure({ work, home, rounds, isMetered, say }) {
  const one = (pool, ...args) => runSuite({ work, home, isMetered, pool, args });
  // The first run of all writes the snapshots; the next two teach what files import, and make the mold that stays.
  const { snapshots } = await one('forks');
  await one('forkpoint');
  if (rounds > 0) await one('forkpoint');
  const covered = await one('forks', '--coverage.enabled');
  const wanted = rounds > 0 ? await one('forks') : covered;
  const check = (sample, expected, what) => {
    if (sample.digest !== expected.digest)
      throw new Error(
        `${what} does not report what the pool forks does:\n${difference(expected.report, sample.report)}`,
      );
    return { ms: sample.ms, cpuMs: sample.cpuMs };
  };
  const checked = check(
    await one('forkpoint', '--coverage.enabled'),
    covered,
    'the pool of forkpoint, with coverage,',
  );
  const variants = {
    forks: async () => check(await one('forks'), wanted, 'the pool forks'),
    forkpoint: async () => check(await one('forkpoint'), wanted, 'the pool of forkpoint'),
    // Its files break each other: it need not report the same.
    'no-isolate': async () => await one('forks', '--no-isolate'),
  };
  const samples =
    rounds > 0
      ? await interleave(variants, rounds, say)
      : { forks: [covered], forkpoint: [checked], 'no-isolate': [await variants['no-isolate']()] };
  const { tests, failed } = wanted;
  return { samples, tests, failed, snapshots, broken: samples['no-isolate'][0].failed };
}

async function runSuite({ work, home, isMetered, pool, args }) {
  const suite = join(work, 'suite');
  const outputs = { report: join(work, 'report.json'), said: join(work, 'said'), times: join(work, 'times') };
  for (const path of Object.values(outputs)) rmSync(path, { force: true });
  rmSync(join(suite, 'coverage'), { recursive: true, force: true });
  const vitest = join(root, '.forkpoint/vitest/node_modules/vitest/vitest.mjs');
  const argv = [
    nodeUnderTest(root, 24),
    vitest,
    'run',
    '--no-color',
    '--reporter=default',
    '--reporter=json',
    `--outputFile.json=${outputs.report}`,
    ...args,
  ];
  const metered = isMetered ? [...meterWords(), ...argv] : argv;
  const [said, times] = [openSync(outputs.said, 'w'), openSync(outputs.times, 'w')];
  const began = performance.now();
  const code = await new Promise((resolve, reject) => {
    const child = spawn(metered[0], metered.slice(1), {
      cwd: suite,
      env: { ...process.env, CI: '', FORKPOINT_HOME: home, BENCH_POOL: pool },
      stdio: ['ignore', said, said, times],
      timeout: LIMIT_MS,
    });
    child.once('error', reject);
    child.once('close', (status, signal) => resolve(status ?? signal));
  });
  const ms = performance.now() - began;
  closeSync(said);
  closeSync(times);
  const text = readFileSync(outputs.said, 'utf8');
  if (pool === 'forkpoint' && /^forkpoint: /m.test(text)) throw new Error(text);
  const report = reportOf(outputs.report, suite, text);
  const digest = createHash('sha256')
    .update(JSON.stringify([report, code]))
    .digest('hex')
    .slice(0, 16);
  const cpuMs = isMetered ? cpuOf(readFileSync(outputs.times, 'utf8')) : NaN;
  return { ms, cpuMs, digest, report, ...countsOf(outputs.report) };
}

function countsOf(path) {
  const { numTotalTests: tests, numFailedTests: failed, snapshot } = JSON.parse(readFileSync(path, 'utf8'));
  return { tests, failed, snapshots: snapshot.added };
}

/** What a run has reported and covered, without times. */
function reportOf(path, suite, said) {
  try {
    statSync(path);
  } catch (cause) {
    throw new Error(`Vitest left no report: ${said}`, { cause });
  }
  const { testResults, snapshot, ...rest } = JSON.parse(readFileSync(path, 'utf8'));
  const { numTotalTests, numPassedTests, numFailedTests, success } = rest;
  const files = testResults.map(({ name, status, message, assertionResults }) => ({
    name,
    status,
    message,
    tests: assertionResults.map((one) => [one.fullName, one.status, one.failureMessages]),
  }));
  files.sort((a, b) => (a.name < b.name ? -1 : 1));
  let coverage = null;
  try {
    coverage = JSON.parse(readFileSync(join(suite, 'coverage/coverage-final.json'), 'utf8'));
  } catch {
    // Not asked for; when it is, both lack it or the digests differ.
  }
  return { numTotalTests, numPassedTests, numFailedTests, success, snapshot, files, coverage };
}

function difference(a, b) {
  const [left, right] = [a, b].map((one) => JSON.stringify(one, null, 1).split('\n'));
  const at = left.findIndex((line, i) => line !== right[i]);
  return `forks: ${left.slice(at, at + 5).join('\n')}\nthis: ${right.slice(at, at + 5).join('\n')}`;
}

function meterWords() {
  const user = process.getuid() === 0 ? [] : ['--user', '--map-current-user'];
  return [
    'unshare',
    ...user,
    '--pid',
    '--fork',
    '--mount-proc',
    '--kill-child',
    'bash',
    '-c',
    METER,
    'meter',
    'meter',
  ];
}

async function canMeter() {
  return await new Promise((resolve) => {
    const [file, ...args] = [...meterWords(), 'true'];
    const child = spawn(file, args, { stdio: ['ignore', 'ignore', 'ignore', 'ignore'] });
    child.once('error', () => resolve(false));
    child.once('close', (code) => resolve(code === 0));
  });
}

/** Reads what `times` of bash prints: of itself, and of all that it has waited for. */
function cpuOf(text) {
  let ms = 0;
  for (const [, minutes, seconds] of text.matchAll(/(\d+)m([\d.]+)s/g))
    ms += Number(minutes) * 60_000 + Number(seconds) * 1000;
  return ms;
}

/** Returns what was measured as text. */
export function reportTests({ size, rounds, results, cpu, cores, load }) {
  const rows = [
    [
      'suite',
      'forks ms',
      'ours ms',
      'no-isolate ms',
      'forks/ours',
      'ours/no-isolate',
      'cpu ms: forks, ours, no-isolate',
      'tests (fail)',
      'fail unisolated',
      'snapshots',
    ],
  ];
  for (const { name, count, samples, tests, failed, broken, snapshots } of results) {
    const { forks, forkpoint, 'no-isolate': shared } = samples;
    const faster = pairs(forks, forkpoint, (a, b) => a.ms / b.ms);
    const slower = pairs(forkpoint, shared, (a, b) => a.ms / b.ms);
    rows.push([
      `${name}, ${count} files`,
      ...[forks, forkpoint, shared].map((all) => shown(summary(all, 'ms'), 0)),
      `${shown(faster, 2)} ${faster.median >= FASTER_TARGET ? 'met' : 'missed'}`,
      `${shown(slower, 2)} ${slower.median <= SLOWER_TARGET ? 'met' : 'missed'}`,
      [forks, forkpoint, shared].map((all) => summary(all, 'cpuMs').median.toFixed(0)).join(' '),
      `${tests} (${failed})`,
      String(broken),
      String(snapshots),
    ]);
  }
  return [
    `${rounds} rounds, size ${size}, ${cores} x ${cpu}, load ${load.toFixed(1)}; targets: forks/ours >= ${FASTER_TARGET}, ours/no-isolate <= ${SLOWER_TARGET}`,
    table(rows),
    'forks and forkpoint reported the same in every round, coverage included',
  ].join('\n');
}
