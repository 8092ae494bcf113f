import { access, constants, readFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { decodeRestorePlan } from '@forkpoint/manifest';
import { readManifest, RESTORE_PLAN_FILE } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import { ClonePool } from '../pool/pool.ts';
import { launcherOf, pathOf, placesFor } from './places.ts';
import type { Pool, PoolOptions } from './pool-types.ts';

const SIZE = 2;
const SIZE_MAX = 1000;
const AGE_MS = 3_600_000;
const CHECK_MS = 1000;
const START_MS = 30_000;

/**
 * Starts a pool of clones of an image that stand ready and are handed over in less than a millisecond. Resolves at once; the
 * clones come in the background. Throws ERR_FORKPOINT_IMAGE_NOT_FOUND, ERR_FORKPOINT_IMAGE_INVALID, ERR_FORKPOINT_SETUP, and
 * ERR_FORKPOINT_POOL for options and images that no pool can be made of.
 */
export async function createPool(options: PoolOptions): Promise<Pool> {
  const { size = SIZE, maxMemoryBytes = Infinity, maxAgeMs = AGE_MS } = options;
  const { checkMs = CHECK_MS, timeoutMs = START_MS } = options;
  if (!Number.isSafeInteger(size) || size < 0 || size > SIZE_MAX)
    throw wrong(`size is a whole number from 0 to ${SIZE_MAX}`, size);
  for (const [name, value] of Object.entries({ maxMemoryBytes, maxAgeMs, checkMs, timeoutMs }))
    if (typeof value !== 'number' || !(value > 0)) throw wrong(`${name} is a number above 0`, value);
  const { stdio = 'pipe' } = options;
  if (!['pipe', 'log', 'ignore'].includes(stdio)) throw wrong('stdio is pipe, log or ignore', stdio);
  const image = pathOf(options.image, options);
  const places = placesFor(options);
  const launcher = await launcherOf(places);
  const { slots } = await readManifest(image);
  const { blocked } = decodeRestorePlan(await readFile(join(image, RESTORE_PLAN_FILE)));
  // The FIFOs `assign` lie beside those at which the checkpoint's outcome is waited for.
  const fifos = blocked.map((path) => path.replace(/outcome$/, 'assign'));
  if (fifos.length === 0 || fifos.includes('assign')) {
    throw new SupervisorError('ERR_FORKPOINT_POOL', `nothing in ${image} can stand still after a restore`, {
      hint: 'images of a pool are of programs that had loaded forkpoint’s client (Node.js, Java, Python, Ruby), taken without --uncoordinated',
    });
  }
  return new ClonePool({
    maker: { places, launcher, library: await libraryOf(), env: process.env },
    image,
    fifos,
    slots,
    bounds: { size, maxMemoryBytes, maxAgeMs },
    checkMs,
    timeoutMs,
    stdio,
    listen: options.listen ?? {},
    env: options.env ?? {},
    onEvent: options.onEvent ?? (() => undefined),
  });
}

/** The package: this file is in the `dist` of one, bundled to CommonJS, or in a checkout. */
async function libraryOf(): Promise<string> {
  const library = typeof __dirname === 'string' ? dirname(__dirname) : (process.env['FORKPOINT_LIB'] ?? '');
  await access(join(library, 'dist', 'worker.cjs'), constants.R_OK);
  return library;
}

function wrong(rule: string, value: unknown): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_POOL', `${rule}, not ${String(value)}`);
}
