import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';

/** Returns a directory that is removed after the test. */
export async function temporaryDirectory(t: TestContext): Promise<string> {
  const directory = await mkdtemp(join(tmpdir(), 'forkpoint store-'));
  t.after(() => rm(directory, { recursive: true, force: true }));
  return directory;
}

/** Starts a process that stays until the test ends; it has printed `ready` when this returns. */
export async function startProcess(
  t: TestContext,
  script: string,
  args: readonly string[] = [],
): Promise<ChildProcess> {
  const child = spawn(process.execPath, ['-e', script, ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  t.after(() => child.kill('SIGKILL'));
  await once(child.stdout, 'data');
  return child;
}

/** A script that waits for the end of its input. */
export const WAITER = 'process.stdout.write("ready\\n"); process.stdin.resume()';

/** Writes the record of a run whose launcher is the process with this pid. */
export async function writeRun(
  runs: string,
  change: { id: string; launcherPid: number } & Record<string, unknown>,
): Promise<string> {
  const dir = join(runs, change.id);
  await mkdir(join(dir, 'results'), { recursive: true });
  await mkdir(join(dir, 'ctl'), { recursive: true });
  const stat = await readFile(`/proc/${change.launcherPid}/stat`, 'utf8').catch(() => ') S 1');
  const launcherStart = Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19] ?? 0);
  const record = {
    v: 1,
    name: 'server',
    command: ['node', 'server.js'],
    startedAt: 1_700_000_000_000,
    generation: 0,
    parentId: null,
    image: null,
    pid: 4242,
    launcherStart,
    to: null,
    toCwd: null,
    detached: true,
    reseed: true,
    ...change,
  };
  await writeFile(join(dir, 'run.json'), JSON.stringify(record));
  await writeFile(join(dir, 'state'), 'running\n');
  return dir;
}

/** A pid that no process has: above the largest that the kernel gives (PID_MAX_LIMIT). */
export const NO_PID = 4_194_304;
