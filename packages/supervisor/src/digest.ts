import { existsSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { setPriority } from 'node:os';
import { join } from 'node:path';
import { placesAt, recordDigests } from '@forkpoint/store';
import type { Surroundings } from './surroundings.ts';

const LOWEST_PRIORITY = 19;
/** Images of a run whose digests still wait; the oldest are left to `forkpoint verify --record`. */
const DUE_MAX = 100;

/** Notes that an image has no digests yet, for whoever comes after a worker that does not come to it. Never throws. */
export function expectDigests(image: string, { runDirectory }: Pick<Surroundings, 'runDirectory'>): void {
  try {
    dueOf(runDirectory).add(image);
  } catch (error) {
    process.stderr.write(`The digests of ${image} were not noted as due: ${String(error)}\n`);
  }
}

/**
 * Computes the digests of a published image, with the lowest priority, until another request needs the worker; those that
 * it did not come to are computed behind the run's next checkpoint. Never throws: what the run does not come to at all is
 * only missing, and `forkpoint verify --record` computes it.
 */
export async function digestLater(
  image: string,
  { home, runDirectory }: Pick<Surroundings, 'home' | 'runDirectory'>,
  hurry: AbortSignal,
): Promise<void> {
  const due = dueOf(runDirectory);
  try {
    setPriority(LOWEST_PRIORITY);
    due.add(image);
    for (const path of due.paths) {
      if (hurry.aborted) return;
      // An image that has gone, or that another one has replaced, is digested under its new name or not at all.
      if (existsSync(path)) await digest(path, home, hurry);
      if (!hurry.aborted) due.remove(path);
    }
  } catch (error) {
    process.stderr.write(`There are no digests of ${image}: ${String(error)}\n`);
  }
}

async function digest(image: string, home: string, hurry: AbortSignal): Promise<void> {
  try {
    await recordDigests(image, { memory: join(placesAt(home).cache, 'digests.json'), signal: hurry });
  } catch (error) {
    if (!hurry.aborted) process.stderr.write(`There are no digests of ${image}: ${String(error)}\n`);
  }
}

function dueOf(runDirectory: string): DueList {
  return new DueList(join(runDirectory, 'digests-due.json'));
}

/** The images of a run that wait for their digests, in a file of the run's directory. */
class DueList {
  paths: readonly string[];
  readonly #file: string;

  constructor(file: string) {
    this.#file = file;
    this.paths = read(file);
  }

  add(path: string): void {
    this.#write([...this.paths.filter((other) => other !== path), path].slice(-DUE_MAX));
  }

  remove(path: string): void {
    this.#write(this.paths.filter((other) => other !== path));
  }

  #write(paths: readonly string[]): void {
    this.paths = paths;
    if (paths.length === 0) return rmSync(this.#file, { force: true });
    writeFileSync(`${this.#file}.new`, `${JSON.stringify(paths)}\n`, { mode: 0o600 });
    renameSync(`${this.#file}.new`, this.#file);
  }
}

function read(file: string): string[] {
  try {
    const list: unknown = JSON.parse(readFileSync(file, 'utf8'));
    return Array.isArray(list) ? list.filter((path) => typeof path === 'string') : [];
  } catch {
    // There is none, which is the usual case.
    return [];
  }
}
