// `forkpoint/vitest`: each test file in a fork of a warm worker.
import { accessSync, constants, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { environmentOf, launcherOf, Starter } from '@forkpoint/supervisor/host';
import type { CloneMaker } from '@forkpoint/supervisor/host';
import { placesAt, places as placesOf } from '@forkpoint/store';
import { Hub } from './hub.ts';
import { Molds } from './molds.ts';
import { ForkpointWorker } from './worker.ts';
import type { Workshop } from './worker.ts';
import type { PoolRunner, WorkerOptions } from './vitest-types.ts';

export type { PoolRunner, Worker, WorkerOptions } from './vitest-types.ts';

/** How test files are forked; nothing of it has to be given. */
export interface ForkpointOptions {
  /** Modules that every mold imports without a look at what they do: file URLs, or names that Node.js resolves from the project. */
  readonly include?: readonly string[];
  /** Modules that no mold imports: parts of their paths, or patterns. */
  readonly exclude?: readonly (string | RegExp)[];
  /** The data directory; `$FORKPOINT_HOME` and so on by default. */
  readonly home?: string;
}

/**
 * Returns a pool for Vitest: `test: { pool: forkpoint() }`. Each test file runs in a process of its own, which is a fork of one
 * that has made the environment and imported what the files have in common. Where forkpoint cannot run, and with
 * `FORKPOINT_VITEST=0`, it returns Vitest's own pool `forks` and says so in one line. Never throws.
 */
export function forkpoint(options: ForkpointOptions = {}): PoolRunner | 'forks' {
  const { FORKPOINT_VITEST: wanted, FORKPOINT_VITEST_USED: note } = process.env;
  if (wanted === '0') return 'forks';
  const obstacle = obstacleHere(options);
  if (obstacle !== undefined) {
    tell(obstacle);
    return 'forks';
  }
  // `forkpoint vitest --compare` wants to know whether it compares anything.
  if (note !== undefined) writeFileSync(note, '');
  let workshop: Promise<Workshop> | undefined;
  return {
    name: 'forkpoint',
    createPoolWorker: (worker: WorkerOptions) =>
      new ForkpointWorker(worker, () => (workshop ??= openWorkshop(options))),
  };
}

/** Returns why forkpoint cannot run here, as far as that can be seen at once. */
function obstacleHere({ home }: ForkpointOptions): string | undefined {
  if (process.platform !== 'linux' || process.arch !== 'x64')
    return `it needs Linux on x86-64, and this is ${process.platform} on ${process.arch}`;
  const { engine } = home === undefined ? placesOf(process.env) : placesAt(home);
  try {
    accessSync(join(engine, 'native/current/launcher'), constants.X_OK);
    return undefined;
  } catch {
    return 'it is not set up: run `npx forkpoint setup` once';
  }
}

async function openWorkshop({ home, include = [], exclude = [] }: ForkpointOptions): Promise<Workshop> {
  const places = home === undefined ? placesOf(process.env) : placesAt(home);
  // Bundled to CommonJS: this file lies in `dist`.
  const library = dirname(__dirname);
  const launcher = await launcherOf(places);
  const starter = new Starter(launcher, environmentOf({ env: process.env, library }));
  const maker: CloneMaker = { places, launcher, library, env: process.env, starter };
  const hub = await Hub.open(places.cache);
  const molds = new Molds(maker, hub, {
    include,
    isWanted: (id) => !exclude.some((one) => (typeof one === 'string' ? id.includes(one) : one.test(id))),
  });
  let hasTold = false;
  const giveUp = (why: string): void => {
    if (!hasTold) tell(why);
    hasTold = true;
  };
  return { maker, hub, molds, giveUp };
}

function tell(why: string): void {
  const [line = ''] = why.split('\n');
  process.stderr.write(`forkpoint: test files run in Vitest's pool forks, because ${line}\n`);
}
