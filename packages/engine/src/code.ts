import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
} from 'node:fs';
import { join } from 'node:path';
import { runCommand } from './command.ts';

const MAKE_MS = 30_000;
/** Of other builds and other versions of Node.js. */
const KEPT = 16;

/** A bundle, and words that make it do the least. */
const BUNDLES = [
  { name: 'cli', words: ['ps'] },
  { name: 'worker', words: [] },
] as const;

/**
 * Has this version of Node.js compile the bundles once, for those who start them (packages/forkpoint/src/start.ts). Quick
 * when it has been done. What fails only leaves starts as slow as they were. Never throws.
 */
export async function makeCode(
  engineDir: string,
  dist: string,
  {
    env,
    log,
    signal,
  }: { env: NodeJS.ProcessEnv; log: (line: string) => void; signal?: AbortSignal | undefined },
): Promise<void> {
  const directory = join(engineDir, 'code');
  for (const { name, words } of BUNDLES) {
    try {
      const stamp = readFileSync(join(dist, 'build.stamp'), 'latin1').slice(0, 16);
      const place = join(directory, `${name}-${stamp}-${process.version}-${process.arch}`);
      if (existsSync(place)) continue;
      mkdirSync(directory, { recursive: true, mode: 0o700 });
      const draft = `${place}.${process.pid}.new`;
      await runCommand([process.execPath, join(dist, `${name}.cjs`), ...words], {
        env: { ...env, NODE_OPTIONS: '', FORKPOINT_MAKE_CODE: draft },
        timeoutMs: MAKE_MS,
        signal,
      });
      flush(draft);
      renameSync(draft, place);
    } catch (error) {
      log(`the bundle ${name} was not compiled ahead: ${String(error)}`);
    }
  }
  try {
    removeOld(directory);
  } catch (error) {
    log(`what was compiled for other builds stays in ${directory}: ${String(error)}`);
  }
}

function flush(path: string): void {
  const fd = openSync(path, 'r');
  fsyncSync(fd);
  closeSync(fd);
}

function removeOld(directory: string): void {
  if (!existsSync(directory)) return;
  const files = readdirSync(directory).map((name) => join(directory, name));
  const byAge = files
    .map((path) => ({ path, time: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }))
    .sort((a, b) => b.time - a.time);
  for (const { path } of byAge.slice(KEPT)) rmSync(path, { force: true });
}
