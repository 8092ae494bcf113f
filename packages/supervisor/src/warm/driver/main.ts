import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Core } from '@forkpoint/core';
import { Baseline } from './baseline.ts';
import { Entry } from './entry.ts';
import type { Level } from './entry.ts';
import { EnvironmentWatch } from './environment.ts';
import { readGiven } from './given.ts';
import { forgetRun } from './resets.ts';
import { StandIns } from './streams.ts';
import type { Terminals } from './streams.ts';

/** What whoever warms a program tells this process, as JSON in the file that FORKPOINT_WARM names. */
export interface Orders {
  /** What `node` would be given. */
  readonly entry: string;
  readonly args: readonly string[];
  /** The working directory of each run: copies of one project, since what a tool remembers of a path would make it skip work. */
  readonly directories: readonly string[];
  readonly level: Level;
  readonly terminals: Terminals;
  /** Directory of the image. */
  readonly image: string;
  /** Receives a Report. */
  readonly report: string;
  readonly limitMs: number;
  /** Variables that the program shall not see. */
  readonly hidden: readonly string[];
  /** The user's own values of variables that forkpoint had to change. */
  readonly env: Readonly<Record<string, string>>;
}

/** What came out. */
export interface Report {
  readonly exitCodes: number[];
  /** Processor time of each warm-up run in milliseconds: what there is to gain. */
  readonly runMs: number[];
  readonly names: string[];
  readonly isCopied: boolean;
  readonly error?: string;
}

/** Looking at this path ends the record of paths (launcher/shim/record.c). */
const RECORD_ENDS = '/.forkpoint-record-ends';
/**
 * The image shall hold little garbage, so that no clone comes to a full collection, and code that is warm: after one it takes several
 * runs until as much is compiled as before (bench/NOTES.md).
 */
const RUNS_AFTER_COLLECTION = 8;
/** Thrown by the `process.exit` of a warm-up run, and swallowed here. */
const EXITED = Symbol('the warm-up run has called process.exit');

const { setTimeout: startTimer, clearTimeout: stopTimer, setImmediate: soon } = globalThis;
const chdir = process.chdir.bind(process);

class Driver {
  readonly #orders: Orders;
  readonly #environment: EnvironmentWatch;
  readonly #streams: StandIns;
  readonly #exit = process.exit.bind(process);
  readonly #entry: Entry;
  #failure: string | undefined;

  constructor(orders: Orders) {
    this.#orders = orders;
    this.#environment = new EnvironmentWatch();
    this.#streams = new StandIns(orders.terminals);
    this.#entry = new Entry(orders.entry, orders.level);
    process.argv = [process.argv[0] ?? process.execPath, orders.entry, ...orders.args];
  }

  /** Runs the program as often as ordered, takes the image, and in the restored process runs it for good. */
  async run(): Promise<void> {
    const { directories, image, report } = this.#orders;
    // Code that is not called for some collections would lose its bytecode, and be compiled once more after the restore.
    setFlagsFromString('--no-flush-bytecode');
    const exitCodes: number[] = [];
    const runMs: number[] = [];
    const crash = (error: unknown): void => {
      if (error !== EXITED) this.#failure ??= textOf(error);
    };
    process.on('uncaughtException', crash);
    process.on('unhandledRejection', crash);
    const baseline = new Baseline();
    for (const [index, directory] of directories.entries()) {
      // Never after the last runs: with the objects of earlier runs go the types that compiled code was made for, and the code
      // with them. The first run after a collection takes twice as long as the one before.
      if (index === Math.max(1, directories.length - RUNS_AFTER_COLLECTION)) collectGarbage();
      const began = process.cpuUsage();
      exitCodes.push(await this.#once(directory));
      runMs.push(Math.round(process.cpuUsage(began).user / 1000));
      baseline.endRun();
      forgetRun();
      this.#environment.endRun();
    }
    process.off('uncaughtException', crash);
    process.off('unhandledRejection', crash);
    baseline.settle();
    const use = this.#environment.use();
    const { names, isCopied } = use;
    const facts: Report = {
      exitCodes,
      runMs,
      names,
      isCopied,
      ...(this.#failure === undefined ? {} : { error: this.#failure }),
    };
    writeFileSync(report, JSON.stringify(facts));
    if (this.#failure !== undefined) this.#exit(1);
    chdir('/');
    lookAt(RECORD_ENDS);
    await Core.checkpointRestore(image, { sync: false });
    this.#begin(use.set);
  }

  /** One run, to its end: nothing is left in the event loop. Resolves to the exit code. */
  async #once(directory: string): Promise<number> {
    const { limitMs } = this.#orders;
    chdir(directory);
    let code: number | undefined;
    Object.defineProperty(process, 'exit', {
      configurable: true,
      writable: true,
      value: (given?: number | string | null) => {
        code ??= Number(given ?? process.exitCode ?? 0);
        throw EXITED;
      },
    });
    await new Promise<void>((resolve, reject) => {
      const timer = startTimer(() => {
        process.off('beforeExit', done);
        const open = process.getActiveResourcesInfo().join(', ');
        reject(new Error(`a warm-up run did not end within ${limitMs / 1000} s; open are: ${open}`));
      }, limitMs);
      timer.unref();
      const done = (): void => {
        stopTimer(timer);
        process.off('beforeExit', done);
        soon(resolve);
      };
      process.on('beforeExit', done);
      soon(() => this.#entry.start());
    });
    return code ?? Number(process.exitCode ?? 0);
  }

  /** In a restored process: becomes the command that was typed. */
  #begin(loaded: Readonly<Record<string, string>>): void {
    const given = readGiven(`${process.env['FORKPOINT_DIR'] ?? ''}/warm`);
    this.#environment.replace({ ...loaded, ...given.env });
    this.#environment.end();
    this.#streams.end();
    process.exit = this.#exit;
    process.umask(given.umask);
    chdir(given.cwd);
    process.argv = [process.argv[0] ?? process.execPath, this.#orders.entry, ...given.args];
    soon(() => this.#entry.start());
  }
}

function lookAt(path: string): void {
  try {
    statSync(path);
  } catch {
    // It does not exist; to ask is all that is wanted.
  }
}

/** Twice: what a finalizer holds goes with the second. */
function collectGarbage(): void {
  setFlagsFromString('--expose-gc');
  const collect: unknown = runInNewContext('gc');
  if (typeof collect !== 'function') return;
  collect();
  collect();
}

function textOf(error: unknown): string {
  return error instanceof Error ? (error.stack ?? error.message) : String(error);
}

const path = process.env['FORKPOINT_WARM'] ?? '';
// Whoever wrote the file is the same version of this package.
const orders = JSON.parse(readFileSync(path, 'utf8')) as Orders;
for (const name of orders.hidden) delete process.env[name];
Object.assign(process.env, orders.env);
const driver = new Driver(orders);
driver.run().catch((error: unknown) => {
  writeFileSync(
    orders.report,
    JSON.stringify({ exitCodes: [], runMs: [], names: [], isCopied: false, error: textOf(error) }),
  );
  process.kill(process.pid, 'SIGKILL');
});
