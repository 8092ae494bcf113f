// Preloaded into `node --test` by `forkpoint test`: its files run in forks of a warm process. Bundled to CommonJS.
import { ChildProcess } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { join, resolve } from 'node:path';
import { placesAt } from '@forkpoint/store';
import { obstacleTo, testCallOf, withoutPreload } from './call.ts';
import type { SpawnOptions, TestCall } from './call.ts';
import { filesMeant } from './files.ts';
import { Forks } from './forks.ts';
import type { Settings } from './forks.ts';

/** The part of it that node's own test runner goes through. */
interface Spawner {
  spawn(this: unknown, options: SpawnOptions): unknown;
}

/** Node.js whose loader tells which files it loads. */
const OLDEST: readonly [number, number] = [22, 15];

class Runner {
  readonly #settings: Settings;
  #forks: Forks | undefined;
  #directory: string | undefined;
  #flags = '';
  #isDecided = false;

  constructor(settings: Settings) {
    this.#settings = settings;
  }

  /** Returns how a test file is to be started. */
  startOf(options: SpawnOptions): SpawnOptions {
    const call = testCallOf(options, __filename);
    const args = [options.args[0] ?? '', ...withoutPreload(options.args.slice(1), __filename)];
    if (call === undefined) return { ...options, args };
    if (!this.#isDecided) this.#decide(call);
    if (this.#directory === undefined || this.#flags !== call.flags.join('\0')) return { ...options, args };
    this.#forks?.note(call.file);
    const { launcher } = filesOf(this.#settings);
    const cold = [process.execPath, ...call.flags];
    const words = [
      'warm-image',
      this.#settings.home,
      this.#directory,
      String(cold.length),
      ...cold,
      call.file,
    ];
    return { ...options, file: launcher, args: [launcher, ...words] };
  }

  #decide(call: TestCall): void {
    this.#isDecided = true;
    const why = obstacleHere(this.#settings) ?? obstacleTo(call, process.execArgv);
    if (why !== undefined) {
      tell(why);
      return;
    }
    try {
      const forks = new Forks(this.#settings, call, filesMeant(process.argv.slice(1)));
      this.#directory = forks.ready();
      this.#flags = call.flags.join('\0');
      this.#forks = forks;
      process.once('exit', () => forks.save());
    } catch (error) {
      tell(error instanceof Error ? error.message : String(error));
    }
  }
}

function filesOf({ home }: Settings): { launcher: string } {
  return { launcher: join(placesAt(home).engine, 'native/current/launcher') };
}

/** Returns why forkpoint cannot run here, as far as that can be seen at once. */
function obstacleHere(settings: Settings): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `it needs Linux on x86-64, and this is ${process.platform} on ${process.arch}`;
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  if (major < OLDEST[0] || (major === OLDEST[0] && minor < OLDEST[1]))
    return `it needs Node.js ${OLDEST.join('.')} or newer, and this is ${process.version}`;
  try {
    accessSync(filesOf(settings).launcher, constants.X_OK);
    return undefined;
  } catch {
    return 'it is not set up: run `npx forkpoint setup` once';
  }
}

function tell(why: string): void {
  const [line = ''] = why.split('\n');
  process.stderr.write(`forkpoint: each test file runs in a process of its own, because ${line}\n`);
}

const { env } = process;
const home = env['FORKPOINT_TEST'];
const library = env['FORKPOINT_LIB'];
// Neither is the business of tests.
delete env['FORKPOINT_TEST'];
delete env['FORKPOINT_LIB'];
if (home !== undefined && library !== undefined) {
  const runner = new Runner({ home: resolve(home), library });
  const spawner = ChildProcess.prototype as unknown as Spawner;
  const spawn: unknown = Reflect.get(spawner, 'spawn');
  if (typeof spawn === 'function')
    spawner.spawn = function (this: unknown, options) {
      return Reflect.apply(spawn, this, [runner.startOf(options)]) as unknown;
    };
}
