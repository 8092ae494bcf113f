import { execFile, spawn } from 'node:child_process';
import { readdirSync, realpathSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import { promisify } from 'node:util';
import { encodePrefetchPlan } from '@forkpoint/manifest';
import type { PrefetchFile } from '@forkpoint/manifest';
import {
  amendImage,
  joined,
  launcherExchange,
  PREFETCH_FILE,
  processesOf,
  readManifest,
  readRun,
} from '@forkpoint/store';
import { SupervisorError } from './error.ts';
import { touchedBy } from './touched.ts';

/** How an image is trained. */
export interface Training {
  /** The directory of the image. */
  readonly image: string;
  /** Says by exit code 0 that the restored program is ready; started again until it does. */
  readonly probe: readonly string[];
  /** Further words of the restore, such as `--listen SLOT=ADDRESS`. */
  readonly restore: readonly string[];
  readonly launcher: string;
  /** The directory of the runs. */
  readonly runs: string;
  readonly cwd: string;
  readonly env: NodeJS.ProcessEnv;
  /** Longest time for the probe to succeed, in milliseconds. */
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** What a training found. */
export interface Trained {
  /** Bytes of page files that were touched until the probe succeeded, of all. */
  readonly touchedBytes: number;
  readonly layerBytes: number;
  /** Bytes that restores read ahead: gaps between what was touched, and other files, included. */
  readonly prefetchBytes: number;
  readonly ranges: number;
  /** How long the restored program took until the probe succeeded, in milliseconds. */
  readonly elapsedMs: number;
}

const RESTORE_MS = 120_000;
const BETWEEN_PROBES_MS = 20;
const END_MS = 10_000;
const OUTPUT_MAX = 1 << 20;
/** Fewer, longer reads are quicker than exact ones: gaps of up to 8 pages are read as well. */
const GAP_BYTES = 8 * 4096;
const LAYER = /\/layers\/([0-9A-Za-z._-]+\.pages)$/;

/**
 * Restores an image once, on page files that are not in the page cache, asks the probe until it succeeds, and stores what the
 * program touched by then in the image: later restores read exactly that ahead. The run is ended in any case, and the image
 * is as it was when something fails. Throws SupervisorError and the errors of the store.
 */
export async function train(training: Training): Promise<Trained> {
  const { image, launcher, signal } = training;
  const manifest = await readManifest(image);
  const layers = manifest.layers.filter(({ file }) => file.startsWith('layers/'));
  // Only pages that were not there before tell what was needed: a fault maps its cached neighbours too (mm/memory.c, fault around).
  await evict(
    launcher,
    layers.map(({ file }) => join(image, file)),
  );
  const began = performance.now();
  const id = await restoreOnce(training);
  try {
    await probeUntilReady(training, id);
    const elapsedMs = performance.now() - began;
    const run = await readRun(join(training.runs, id));
    const processes = await processesOf(run);
    const files = prefetchOf(
      image,
      processes.map(({ hostPid }) => hostPid),
    );
    const plan = encodePrefetchPlan({ files: files.plan });
    await amendImage(image, new Map([[PREFETCH_FILE, plan]]), {
      exchange: launcherExchange(launcher),
      ...(signal === undefined ? {} : { signal }),
    });
    const all = files.plan.flatMap(({ ranges }) => ranges);
    return {
      touchedBytes: files.touchedBytes,
      layerBytes: layers.reduce((sum, { size }) => sum + size, 0),
      prefetchBytes: all.reduce((sum, { length }) => sum + length, 0),
      ranges: all.length,
      elapsedMs,
    };
  } finally {
    await end(join(training.runs, id));
  }
}

async function evict(launcher: string, files: readonly string[]): Promise<void> {
  if (files.length === 0) return;
  // A file that cannot be taken out is one that somebody else has mapped or owns: the set is then larger than needed.
  await promisify(execFile)(launcher, ['evict', ...files], { timeout: RESTORE_MS }).catch(() => undefined);
}

async function restoreOnce({ image, restore, launcher, cwd, env, signal }: Training): Promise<string> {
  const words = ['restore', image, '--detach', '--json', '--no-prefetch', ...restore];
  try {
    const { stdout } = await promisify(execFile)(launcher, words, {
      cwd,
      env,
      timeout: RESTORE_MS,
      maxBuffer: OUTPUT_MAX,
      ...(signal === undefined ? {} : { signal }),
    });
    const told: unknown = JSON.parse(stdout);
    if (typeof told === 'object' && told !== null && 'id' in told) return String(told.id);
    throw new Error(`it said ${stdout.slice(0, 200)}`);
  } catch (cause) {
    const said = cause instanceof Error && 'stderr' in cause ? String(cause.stderr).trim() : String(cause);
    throw new SupervisorError(
      'ERR_FORKPOINT_TRAIN',
      `${image} cannot be restored for the training: ${said}`,
      {
        hint: 'give other addresses with `--listen SLOT=ADDRESS` when the program still runs',
        cause,
      },
    );
  }
}

/** Starts the probe until it ends with 0. */
async function probeUntilReady(training: Training, id: string): Promise<void> {
  const { probe, cwd, env, signal, timeoutMs } = training;
  const deadline = Date.now() + timeoutMs;
  const [file = '', ...args] = probe;
  for (;;) {
    signal?.throwIfAborted();
    const left = deadline - Date.now();
    const why = await new Promise<string | null>((resolve) => {
      const child = spawn(file, args, {
        cwd,
        env: { ...env, FORKPOINT_RUN: id },
        stdio: ['ignore', 'ignore', 'ignore'],
        timeout: Math.max(1, left),
        killSignal: 'SIGKILL',
      });
      child.once('error', (error) => resolve(error.message));
      child.once('close', (code, killed) => resolve(code === 0 ? null : `it ended with ${code ?? killed}`));
    });
    if (why === null) return;
    if (Date.now() >= deadline) {
      throw new SupervisorError(
        'ERR_FORKPOINT_TRAIN',
        `the probe \`${file}\` did not succeed within ${timeoutMs} ms: ${why}`,
        {
          hint: 'run the probe by hand against a restore of the image, or raise the limit with `--timeout SECONDS`',
        },
      );
    }
    await pause(BETWEEN_PROBES_MS);
  }
}

/** What restores read ahead: the touched parts of page files and of code, and CRIU's own files as a whole. */
function prefetchOf(
  image: string,
  hostPids: readonly number[],
): { plan: PrefetchFile[]; touchedBytes: number } {
  const touched = new Map<string, { offset: number; length: number }[]>();
  for (const hostPid of hostPids) {
    for (const { path, ranges } of touchedBy(hostPid)) {
      const layer = LAYER.exec(path)?.[1];
      const key = layer === undefined ? path : `layers/${layer}`;
      if (layer === undefined && !isPlainFile(path)) continue;
      touched.set(key, [...(touched.get(key) ?? []), ...ranges]);
    }
  }
  const layers = [...touched].filter(([path]) => path.startsWith('layers/'));
  const touchedBytes = layers
    .flatMap(([, ranges]) => joined(ranges))
    .reduce((sum, { length }) => sum + length, 0);
  const own = readdirSync(image).filter((name) => name.endsWith('.img'));
  const plan = [
    // What CRIU reads first comes first.
    ...own.map((path) => ({ path, ranges: [] })),
    ...[...touched].map(([path, ranges]) => ({ path, ranges: joined(ranges, GAP_BYTES) })),
  ];
  return { plan, touchedBytes };
}

function isPlainFile(path: string): boolean {
  try {
    return realpathSync(path) === path && statSync(path).isFile();
  } catch {
    // It was deleted, or belongs to the pod alone.
    return false;
  }
}

/** Ends the run that was trained on, and waits for it. */
async function end(directory: string): Promise<void> {
  const run = await readRun(directory);
  if (!run.isAlive) return;
  try {
    process.kill(run.launcherPid, 'SIGKILL');
  } catch {
    // It has ended by itself.
    return;
  }
  const deadline = Date.now() + END_MS;
  while (Date.now() < deadline && (await readRun(directory)).isAlive) await pause(BETWEEN_PROBES_MS);
}
