// Flattens copies of an image while the operations of this process fail (packages/testkit/src/programs/c/faults.c), and says
// as JSON what became of them. Usage: flatten-steps WORK IMAGE LAUNCHER, with FAULT_KIND and FAULT_AT. For `space` it goes
// on by itself, FAULT_STRIDE steps further each time; for `kill` it is started for each.
import { existsSync, linkSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { flatten, launcherExchange } from '@forkpoint/store';
import { digestOf, filesBelow } from './image-digest.ts';

const [work = '', image = '', launcher = ''] = process.argv.slice(2);
const target = join(work, 'image');
const log = process.env['FAULT_LOG'] ?? '';

/** Makes a copy of the image out of links: nothing in an image is ever changed in place. */
function prepare(): void {
  rmSync(work, { recursive: true, force: true });
  mkdirSync(join(target, 'layers'), { recursive: true, mode: 0o700 });
  for (const name of filesBelow(image)) linkSync(join(image, name), join(target, name));
}

interface Attempt {
  /** Whether an operation failed. */
  readonly struck: boolean;
  readonly error: string | null;
  readonly digest: string;
  /** Entries that were left beside the image. */
  readonly beside: number;
}

async function attempt(at: number): Promise<Attempt> {
  delete process.env['FAULT_AT'];
  prepare();
  process.env['FAULT_AT'] = String(at);
  let error: string | null = null;
  try {
    await flatten(target, { exchange: launcherExchange(launcher), threshold: 1 });
  } catch (reason) {
    error = reason instanceof Error ? reason.message : String(reason);
  }
  delete process.env['FAULT_AT'];
  const struck = existsSync(log);
  rmSync(log, { force: true });
  return { struck, error, digest: digestOf(target), beside: readdirSync(work).length - 1 };
}

const results: Attempt[] = [];
const stride = Number(process.env['FAULT_STRIDE'] ?? '1');
for (let at = Number(process.env['FAULT_AT']); at < 10_000; at += stride) {
  const result = await attempt(at);
  results.push(result);
  if (!result.struck) break;
}
console.log(JSON.stringify(results));
