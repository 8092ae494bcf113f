// What is promised of a JVM, with other JDKs than the one of `npm test`: npm run jdks [-- 21 25]. The conformance of the Java and JRuby
// clients, org.crac's provider, random numbers, Spring Boot, and the memory of linked restores. Prints one table.
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { lendEngine, showToOthers } from './lib/share.mjs';
import { setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const node = join(root, 'node_modules/node24/bin/node');
const LIMIT_MS = 60 * 60_000;
const FILES = ['conformance', 'java', 'bad-input', 'spring', 'clones', 'same-memory', 'jruby'];
/** Of the shared files only what runs a JVM. */
const NAMES = 'JVM|Java|JRuby';

const versions = process.argv.slice(2).length > 0 ? process.argv.slice(2) : ['21', '25'];
await setup({ runtimes: true, languages: true });
showToOthers(fileURLToPath(import.meta.url));
const prepared = spawnSync(node, [join(root, 'scripts/languages.ts'), '--jdk21'], {
  stdio: 'inherit',
  timeout: LIMIT_MS,
});
if (prepared.status !== 0) process.exit(1);

/** Runs one file with one JDK; returns how many tests passed and failed. */
function run(file, java, env) {
  const directory = mkdtempSync(join(tmpdir(), 'fp-report-'));
  const report = join(directory, 'report.tap');
  const reporters = ['spec', 'stdout', 'tap', report].map((word, index) =>
    index % 2 === 0 ? `--test-reporter=${word}` : `--test-reporter-destination=${word}`,
  );
  const names = ['conformance', 'clones', 'same-memory'].includes(file)
    ? [`--test-name-pattern=${NAMES}`]
    : [];
  try {
    spawnSync(node, ['--test', ...reporters, ...names, `test/languages/${file}.test.ts`], {
      cwd: root,
      stdio: 'inherit',
      timeout: LIMIT_MS,
      env: { ...process.env, ...env, NODE_OPTIONS: '', FORKPOINT_TEST_JAVA: java },
    });
    const text = readFileSync(report, 'utf8');
    const figure = (key) => Number(new RegExp(`^# ${key} (\\d+)`, 'm').exec(text)?.[1] ?? 0);
    return { passed: figure('pass'), failed: figure('fail') + figure('cancelled') };
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
}

const { engine, remove } = lendEngine();
const rows = [];
for (const version of versions) {
  const java = join(root, '.forkpoint/languages', version === '17' ? 'bin/java' : `jdk${version}/bin/java`);
  const results = FILES.map((file) => run(file, java, { FORKPOINT_TEST_ENGINE: engine }));
  const { stderr } = spawnSync(java, ['-version'], { encoding: 'utf8', timeout: 60_000 });
  rows.push({ version: /build (\S+?)\)/.exec(stderr)?.[1] ?? version, results });
}
remove();
console.log(`\n| JDK | ${FILES.join(' | ')} |\n|---|${FILES.map(() => '---|').join('')}`);
for (const { version, results } of rows) {
  const cells = results.map(({ passed, failed }) =>
    failed === 0 ? `${passed}` : `${passed}, ${failed} FAILED`,
  );
  console.log(`| ${version} | ${cells.join(' | ')} |`);
}
process.exitCode = rows.some(({ results }) =>
  results.some(({ passed, failed }) => failed > 0 || passed === 0),
)
  ? 1
  : 0;
