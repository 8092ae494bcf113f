import { spawn } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { InvalidArgumentError } from 'commander';
import type { Command } from 'commander';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import type { Finish } from '../program.ts';
import { withProgress } from '../ui/progress.ts';
import { tableLines } from '../ui/table.ts';

interface Options {
  readonly rounds: number;
  readonly json?: boolean;
}

/** One way to run the suite. */
interface Way {
  readonly name: 'isolated' | 'forkpoint' | 'not isolated';
  readonly words: readonly string[];
}

/** What one run has shown. */
interface Sample {
  readonly wallMs: number;
  readonly passed: number;
  readonly failed: number;
  /** Every file and test with its outcome. */
  readonly outcomes: string;
}

const WAYS: readonly Way[] = [
  { name: 'isolated', words: ['--pool=forks'] },
  { name: 'forkpoint', words: [] },
  { name: 'not isolated', words: ['--pool=forks', '--no-isolate'] },
];
const ROUNDS = 3;
const ROUNDS_MAX = 99;
/** Longest run of a suite, in milliseconds. */
const LIMIT_MS = 3_600_000;
const SAID_MAX = 4000;

/** Adds `forkpoint vitest`. */
export function addVitest(program: Command, cli: Cli, finish: Finish): void {
  program
    .command('vitest')
    .summary('time your own tests: isolated, with forkpoint, not isolated')
    .description(
      "Runs Vitest's tests of the current directory in three ways, in turns: each file in a process of its own, each in a fork of " +
        'a warm one, as `pool: forkpoint()` in the configuration has it, and all in the same processes. Says how long each takes and ' +
        'whether the first two report the same.',
    )
    .requiredOption('--compare', 'what it is for')
    .argument('[args...]', 'further words for vitest, such as a filter')
    .option('--rounds <number>', 'how often each way is run', roundsOf, ROUNDS)
    .option('--json', 'print the samples as JSON')
    .addHelpText(
      'after',
      '\nExamples:\n  forkpoint vitest --compare\n  forkpoint vitest --compare -- --project unit',
    )
    .action(async (args: string[], options: Options) => {
      await run(cli, args, options);
      finish(0);
    });
}

function roundsOf(text: string): number {
  const rounds = Number(text);
  if (Number.isSafeInteger(rounds) && rounds > 0 && rounds <= ROUNDS_MAX) return rounds;
  throw new InvalidArgumentError(`A whole number from 1 to ${ROUNDS_MAX} is needed.`);
}

async function run(cli: Cli, args: readonly string[], { rounds, json }: Options): Promise<void> {
  const vitest = findVitest(cli.cwd);
  const scratch = mkdtempSync(join(tmpdir(), 'forkpoint-compare-'));
  try {
    const one = async (way: Way): Promise<Sample> =>
      await runOnce(cli, vitest, scratch, [...way.words, ...args]);
    const samples = new Map(WAYS.map(({ name }) => [name, [] as Sample[]]));
    await withProgress(cli, 'Running the tests in three ways', async () => {
      // The first teaches what to import and fills Vite's caches, the second makes the mold that stays.
      await one({ name: 'forkpoint', words: [] });
      if (!existsSync(join(scratch, 'used')))
        throw new CliError(
          'the configuration of Vitest does not use forkpoint, or forkpoint cannot run here',
          {
            hint: 'Set `pool: forkpoint()` from forkpoint/vitest, and see `forkpoint doctor`',
          },
        );
      await one({ name: 'forkpoint', words: [] });
      for (let round = 0; round < rounds; round++)
        for (const way of WAYS) samples.get(way.name)?.push(await one(way));
    });
    cli.writeOut(json === true ? `${JSON.stringify(Object.fromEntries(samples))}\n` : `${textOf(samples)}\n`);
  } finally {
    rmSync(scratch, { recursive: true, force: true });
  }
}

function findVitest(cwd: string): string {
  try {
    return join(
      dirname(createRequire(join(cwd, 'package.json')).resolve('vitest/package.json')),
      'vitest.mjs',
    );
  } catch (cause) {
    throw new CliError(`there is no Vitest in ${cwd}`, {
      hint: 'Run `npm install --save-dev vitest`',
      causes: [cause instanceof Error ? cause.message : String(cause)],
    });
  }
}

async function runOnce(cli: Cli, vitest: string, scratch: string, words: readonly string[]): Promise<Sample> {
  const report = join(scratch, 'report.json');
  rmSync(report, { force: true });
  const argv = [vitest, 'run', '--reporter=json', `--outputFile.json=${report}`, ...words];
  const began = performance.now();
  const said = await toEnd([cli.env['FORKPOINT_NODE'] ?? process.execPath, ...argv], {
    cwd: cli.cwd,
    env: { ...cli.env, FORKPOINT_VITEST_USED: join(scratch, 'used') },
  });
  const wallMs = performance.now() - began;
  if (!existsSync(report)) throw new CliError(`vitest ${words.join(' ')} left no report: ${said.trim()}`);
  return sampleOf(JSON.parse(readFileSync(report, 'utf8')) as Report, wallMs);
}

/** The part of Vitest's JSON report that is looked at. */
interface Report {
  readonly numPassedTests: number;
  readonly numFailedTests: number;
  readonly testResults: readonly {
    readonly name: string;
    readonly status: string;
    readonly assertionResults: readonly { readonly fullName: string; readonly status: string }[];
  }[];
}

function sampleOf({ numPassedTests, numFailedTests, testResults }: Report, wallMs: number): Sample {
  const outcomes = testResults
    .flatMap(({ name, status, assertionResults }) => [
      `${name} ${status}`,
      ...assertionResults.map((one) => `${name} ${one.fullName} ${one.status}`),
    ])
    .sort();
  return { wallMs, passed: numPassedTests, failed: numFailedTests, outcomes: outcomes.join('\n') };
}

async function toEnd(
  [file = '', ...args]: readonly string[],
  options: { readonly cwd: string; readonly env: Cli['env'] },
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const child = spawn(file, args, { ...options, stdio: ['ignore', 'pipe', 'pipe'], timeout: LIMIT_MS });
    let said = '';
    for (const stream of [child.stdout, child.stderr])
      stream.setEncoding('utf8').on('data', (text: string) => (said = (said + text).slice(-SAID_MAX)));
    child.once('error', reject);
    child.once('close', () => resolve(said));
  });
}

function textOf(samples: ReadonlyMap<Way['name'], readonly Sample[]>): string {
  const median = (all: readonly Sample[]): number =>
    all.map(({ wallMs }) => wallMs).sort((a, b) => a - b)[all.length >> 1] ?? 0;
  const isolated = samples.get('isolated') ?? [];
  const rows = [...samples].map(([name, all]) => [
    name,
    `${(median(all) / 1000).toFixed(2)} s`,
    `${(median(isolated) / median(all)).toFixed(1)}x`,
    String(all[0]?.passed ?? 0),
    String(all[0]?.failed ?? 0),
  ]);
  const all = [...isolated, ...(samples.get('forkpoint') ?? [])];
  const isSame = new Set(all.map(({ outcomes }) => outcomes)).size === 1;
  return [
    ...tableLines(
      [{ title: '' }, ...['median', 'speed', 'passed', 'failed'].map((title) => ({ title, isRight: true }))],
      rows,
    ),
    isSame
      ? 'isolated and forkpoint report the same in every round'
      : 'isolated and forkpoint do not report the same in every round: see which tests differ with --json',
  ].join('\n');
}
