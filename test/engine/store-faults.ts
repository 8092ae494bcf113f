// Starts store-steps.ts with the preload of packages/testkit/src/programs/c/faults.c.
import { execFile, execFileSync } from 'node:child_process';
import { realpathSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { root } from '@forkpoint/testkit';
import { bundle } from './build.ts';
import { check } from './store-walk.ts';
import type { Walk } from './store-walk.ts';

/** The preload, and where the walk works. */
export interface Faults extends Walk {
  readonly preload: string;
  readonly log: string;
  /** store-steps.ts as one file. */
  readonly steps: string;
}

const LIMIT_MS = 300_000;

/** Compiles the preload and the steps into a directory. The engine comes from FORKPOINT_TEST_ENGINE, as for all engine tests. */
export async function compileFaults(directory: string): Promise<Faults> {
  const engine = process.env['FORKPOINT_TEST_ENGINE'];
  if (engine === undefined)
    throw new Error('FORKPOINT_TEST_ENGINE is not set: run this with `npm run test:engine`');
  const native = realpathSync(join(engine, 'native/current'));
  const preload = join(directory, 'faults.so');
  const source = join(root, 'packages/testkit/src/programs/c/faults.c');
  execFileSync('cc', ['-O1', '-shared', '-fPIC', '-o', preload, source, '-ldl'], { timeout: 60_000 });
  const steps = join(directory, 'steps.mjs');
  await bundle('store-steps.ts', steps);
  return {
    preload,
    steps,
    log: join(directory, 'struck'),
    work: join(directory, 'work'),
    launcher: join(native, 'launcher'),
    addon: join(native, 'codec.node'),
  };
}

/**
 * Lets every file operation of an operation on the store fail in turn, or every one that is `stride` further than the last, with every
 * check after each. Throws at the first that does not hold.
 */
export async function stepsOf(
  faults: Faults,
  operation: string,
  kind: 'space' | 'io' | 'files',
  { first = 1, stride = 1 } = {},
): Promise<{ steps: number; told: string[] }> {
  const { stdout } = await start(faults, operation, {
    FAULT_KIND: kind,
    FAULT_AT: String(first),
    FAULT_STRIDE: String(stride),
  });
  return JSON.parse(stdout) as { steps: number; told: string[] };
}

/** Kills an operation at one of its file operations and checks. Returns whether there is such a one. */
export async function killedAt(faults: Faults, operation: string, at: number): Promise<boolean> {
  try {
    await start(faults, operation, { FAULT_KIND: 'kill', FAULT_AT: String(at) });
    return false;
  } catch (error) {
    if (!(error instanceof Error && 'signal' in error && error.signal === 'SIGKILL')) throw error;
  }
  try {
    await check(operation, faults);
  } catch (cause) {
    throw new Error(`${operation}, killed at operation ${at}`, { cause });
  }
  return true;
}

async function start(
  { preload, log, steps, work, launcher, addon }: Faults,
  operation: string,
  fault: Readonly<Record<string, string>>,
): Promise<{ stdout: string }> {
  const own = { NODE_OPTIONS: '', NODE_COMPILE_CACHE: `${steps}.cache` };
  return await promisify(execFile)(process.execPath, [steps, work, operation, launcher, addon], {
    timeout: LIMIT_MS,
    env: { ...process.env, ...own, LD_PRELOAD: preload, FAULT_DIR: work, FAULT_LOG: log, ...fault },
  });
}
