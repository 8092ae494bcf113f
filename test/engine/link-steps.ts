// Links copies of a dump and puts them in the place of an image while the operations of this process fail
// (packages/testkit/src/programs/c/faults.c), and says as JSON what became of the image. Usage: link-steps WORK DUMP LAUNCHER, with
// FAULT_KIND and FAULT_AT. For `space` it goes on by itself, FAULT_STRIDE steps further each time; for `kill` it is started for each. The
// dump's layers, those of the generation before, lie in WORK.run as in the directory of a living run.
import crypto from 'node:crypto';
import {
  existsSync,
  linkSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { syncBuiltinESMExports } from 'node:module';
import { dirname, join } from 'node:path';
import { LAYERS } from '@forkpoint/linker';
import { decodeRestorePlan, encodeRestorePlan } from '@forkpoint/manifest';
import { discard, launcherExchange, openDestination, publish } from '@forkpoint/store';
import { linkImage } from '@forkpoint/supervisor/codec';
import { digestOf, filesBelow } from './image-digest.ts';

const [work = '', dump = '', launcher = ''] = process.argv.slice(2);
const target = join(work, 'image');
const log = process.env['FAULT_LOG'] ?? '';

const run = `${work}.run`;

/** Fills a directory with links to files of the dump: nothing is ever changed in place. */
function fill(directory: string, takes: (name: string) => boolean): void {
  for (const name of filesBelow(dump).filter(takes)) {
    const to = join(directory, name);
    mkdirSync(dirname(to), { recursive: true, mode: 0o700 });
    linkSync(join(dump, name), to);
  }
}

const isLayer = (name: string): boolean => name.startsWith(`${LAYERS}/`);

/** What the worker does behind a dump: links the image, says so in the plan, and publishes it. */
async function replace(at: number): Promise<void> {
  const destination = await openDestination(target, '0123456789ab');
  try {
    const directory = destination.temporary;
    fill(directory, (name) => !isLayer(name) && name !== 'digests.json');
    // What comes before is the dump's.
    process.env['FAULT_AT'] = String(at);
    const plan = decodeRestorePlan(readFileSync(join(directory, 'restore.plan')));
    linkImage(directory, { controlDirectory: plan.controlDirectory, runDirectory: run });
    const sizeOf = (name: string): number => statSync(join(directory, name)).size;
    const bytes = encodeRestorePlan({
      ...plan,
      parts: plan.parts.map(({ name }) => ({ name, size: sizeOf(name) })),
      layers: readdirSync(join(directory, LAYERS))
        .sort()
        .map((name) => ({
          name,
          size: sizeOf(join(LAYERS, name)),
        })),
    });
    rmSync(join(directory, 'restore.plan'));
    writeFileSync(join(directory, 'restore.plan'), bytes, { mode: 0o600 });
    await publish(destination, { exchange: launcherExchange(launcher), sync: true });
  } catch (error) {
    await discard(destination);
    throw error;
  }
}

interface Attempt {
  /** The operation that failed; empty when none did. */
  readonly struck: string;
  readonly error: string | null;
  readonly digest: string;
  /** Entries that were left beside the image. */
  readonly beside: number;
}

async function attempt(at: number): Promise<Attempt> {
  delete process.env['FAULT_AT'];
  rmSync(work, { recursive: true, force: true });
  fill(target, () => true);
  let error: string | null = null;
  try {
    await replace(at);
  } catch (reason) {
    error = reason instanceof Error ? reason.message : String(reason);
  }
  delete process.env['FAULT_AT'];
  const struck = existsSync(log) ? readFileSync(log, 'utf8').trim() : '';
  rmSync(log, { force: true });
  return { struck, error, digest: digestOf(target), beside: readdirSync(work).length - 1 };
}

// Names that are drawn are the same each time, and with them the order and the bytes of the image.
Object.assign(crypto, { randomBytes: (size: number) => Buffer.alloc(size) });
syncBuiltinESMExports();
rmSync(run, { recursive: true, force: true });
fill(join(run, 'ctl'), isLayer);
const results: Attempt[] = [];
const stride = Number(process.env['FAULT_STRIDE'] ?? '1');
for (let at = Number(process.env['FAULT_AT']); at < 10_000; at += stride) {
  const result = await attempt(at);
  results.push(result);
  if (result.struck === '') break;
}
console.log(JSON.stringify(results));
