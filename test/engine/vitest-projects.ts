import {
  chownSync,
  cpSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { nodeBinary, programPath, root } from '@forkpoint/testkit';
import type { Person, Running, SpawnOptions } from '@forkpoint/testkit';

/** A person's own copy of one of the projects in programs/vitest. */
export class Project {
  readonly directory: string;
  readonly #person: Person;
  #reports = 0;

  constructor(person: Person, name: string, as: string = name) {
    this.#person = person;
    this.directory = join(person.scratch, as);
    cpSync(programPath(`vitest/${name}`), this.directory, { recursive: true });
    const paths = readdirSync(this.directory, { recursive: true, encoding: 'utf8' });
    for (const path of paths) {
      const whole = resolve(this.directory, path);
      if (process.getuid?.() === 0) chownSync(whole, person.uid, person.uid);
      // TypeScript that belongs to no project of ours.
      if (path.endsWith('.ts.txt')) renameSync(whole, whole.slice(0, -4));
    }
    // Git keeps no node_modules.
    if (existsSync(join(this.directory, 'packages')))
      renameSync(join(this.directory, 'packages'), join(this.directory, 'node_modules'));
    const installed = join(root, '.forkpoint/vitest/node_modules');
    // A directory of the project's own, since Vitest keeps its caches there.
    mkdirSync(join(this.directory, 'node_modules'), { recursive: true });
    for (const name of readdirSync(installed).filter((one) => !one.startsWith('.')))
      symlinkSync(join(installed, name), join(this.directory, 'node_modules', name));
    if (process.getuid?.() === 0)
      for (const path of ['', 'node_modules']) chownSync(join(this.directory, path), person.uid, person.uid);
  }

  /** The command line of Vitest. */
  vitest(...args: string[]): string[] {
    return [nodeBinary(24), join(root, '.forkpoint/vitest/node_modules/vitest/vitest.mjs'), ...args];
  }

  /** Starts Vitest with the pool of forkpoint. */
  start(verb: 'run' | 'watch', args: readonly string[]): Running {
    return this.#person.start(this.vitest(verb, '--no-color', ...args), {
      cwd: this.directory,
      timeoutMs: 120_000,
      // As in `run`: the environment is part of what makes a mold.
      env: { CI: undefined, ORDINARY: '0' },
    });
  }

  /** What is noted of all molds of the person, as text. */
  molds(): string {
    const directory = join(this.#person.home, 'cache/vitest');
    const names = readdirSync(directory).filter((name) => !name.endsWith('.json'));
    return names.map((name) => readFileSync(join(directory, name, 'mold.json'), 'utf8')).join('\n');
  }

  /** What was learned of all projects of the person, as text: for a failure to tell. */
  learned(): string {
    const directory = join(this.#person.home, 'cache/vitest');
    const names = readdirSync(directory).filter((name) => name.endsWith('.json'));
    return names.map((name) => readFileSync(join(directory, name), 'utf8')).join('\n');
  }

  /** Writes one of its files. */
  write(path: string, text: string): void {
    const whole = join(this.directory, path);
    writeFileSync(whole, text);
    if (process.getuid?.() === 0) chownSync(whole, this.#person.uid, this.#person.uid);
  }

  /** Reads one of its files. */
  read(path: string): string {
    return readFileSync(join(this.directory, path), 'utf8');
  }

  /** Runs all tests once and returns the report, without what differs from run to run. */
  async run(
    pool: 'forks' | 'forkpoint',
    args: readonly string[] = [],
    options: SpawnOptions = {},
  ): Promise<Run> {
    // Every run is the first one for its snapshots.
    for (const part of ['test', 'board'])
      rmSync(join(this.directory, part, '__snapshots__'), { recursive: true, force: true });
    const path = join(this.directory, `report-${this.#reports++}.json`);
    const reporters = ['--reporter=json', `--outputFile.json=${path}`, '--reporter=verbose'];
    const { code, stdout, stderr } = await this.#person
      .start(this.vitest('run', '--no-color', ...reporters, ...args), {
        cwd: this.directory,
        timeoutMs: 120_000,
        ...options,
        env: { ORDINARY: pool === 'forks' ? '1' : '0', CI: undefined, ...options.env },
      })
      .end();
    let report: unknown;
    try {
      report = JSON.parse(readFileSync(path, 'utf8'));
    } catch (cause) {
      throw new Error(`no report: ${stdout}${stderr}`, { cause });
    }
    return { code, report: comparable(report), stdout, stderr };
  }
}

/** What a run of Vitest has left. */
export interface Run {
  readonly code: number | null;
  readonly report: unknown;
  readonly stdout: string;
  readonly stderr: string;
}

/** A report without times, in an order of its own. */
function comparable(value: unknown, key = ''): unknown {
  if (typeof value === 'number' && /time|duration|start/i.test(key)) return 0;
  if (Array.isArray(value)) {
    const all = value.map((one) => comparable(one));
    return key === 'testResults' ? all.sort((a, b) => (nameOf(a) < nameOf(b) ? -1 : 1)) : all;
  }
  if (typeof value !== 'object' || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, comparable(one, name)]));
}

function nameOf(value: unknown): string {
  return typeof value === 'object' && value !== null && 'name' in value ? String(value.name) : '';
}

/** Vitest's hints at what took how much of the time, each with its advice and its link. */
const HINTS =
  /^(Isolate|at least|Import\s+\d+ modules were evaluated|~ faster with isolate|learn more: .*#test-isolation$)/;

/** What a report prints for the reader, without times and in no order: lines of tests, of files and of consoles. */
export function linesOf({ stdout, stderr }: Run): string[] {
  return `${stdout}\n${stderr}`
    .split('\n')
    .map((line) => line.replaceAll(/\s*\b\d+(\.\d+)?m?s\b/g, '').trim())
    .filter((line) => line !== '' && !HINTS.test(line))
    .filter((line) => !/^(Start at|Duration|RUN|JSON report|Slow)/.test(line))
    .sort();
}
