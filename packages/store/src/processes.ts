import { StoreError } from './error.ts';
import { commandOf, descendantsOf, memoryOf, namespacePids } from './proc.ts';
import type { Run } from './runs.ts';

/** A process of a living run. */
export interface RunProcess {
  /** Pid in the pod. */
  readonly pid: number;
  readonly hostPid: number;
  readonly command: readonly string[];
  readonly memory: { readonly privateBytes: number; readonly sharedBytes: number };
}

/** Returns the processes in a run's pod, ordered by pid, without the launcher and its worker; empty when the run has ended. */
export async function processesOf(run: Run): Promise<RunProcess[]> {
  if (!run.isAlive) return [];
  // Every process of a pid namespace descends from its pid 1, except those that entered from outside.
  const [all, launcherPids] = await Promise.all([
    descendantsOf(run.launcherPid),
    namespacePids(run.launcherPid),
  ]);
  const depth = (launcherPids?.length ?? 1) - 1;
  const found = await Promise.all(
    all.map(async ({ hostPid, parentPid }) => {
      const pid = (await namespacePids(hostPid))?.[depth];
      if (pid === undefined) return [];
      const [command, memory] = await Promise.all([commandOf(hostPid), memoryOf(hostPid)]);
      if (parentPid === run.launcherPid && pid !== run.pid && isWorker(command)) return [];
      return [{ pid, hostPid, command, memory }];
    }),
  );
  return found.flat().sort((a, b) => a.pid - b.pid);
}

/** Whether this is who carries out checkpoints for the launcher; after a fork it stays for a while. */
function isWorker(command: readonly string[]): boolean {
  return command.at(-1)?.endsWith('/dist/worker.cjs') === true;
}

/** Returns the host's pid of the program's first process, or undefined when it is gone. */
export async function rootHostPid(run: Run): Promise<number | undefined> {
  if (!run.isAlive) return undefined;
  const [all, launcherPids] = await Promise.all([
    descendantsOf(run.launcherPid),
    namespacePids(run.launcherPid),
  ]);
  const depth = (launcherPids?.length ?? 1) - 1;
  for (const { hostPid } of all) if ((await namespacePids(hostPid))?.[depth] === run.pid) return hostPid;
  return undefined;
}

/** Sends a signal to the program's first process; throws ERR_FORKPOINT_RUN_GONE when it has ended. */
export async function signalRun(run: Run, signal: NodeJS.Signals | number): Promise<void> {
  const hostPid = await rootHostPid(run);
  if (hostPid === undefined) throw gone(run);
  try {
    process.kill(hostPid, signal);
  } catch (cause) {
    throw gone(run, cause);
  }
}

/** Returns the error for a run that is no longer there. */
export function gone(run: Pick<Run, 'name' | 'exitCode'>, cause?: unknown): StoreError {
  const how = run.exitCode === null ? '' : ` with exit code ${run.exitCode}`;
  return new StoreError('ERR_FORKPOINT_RUN_GONE', `the run \`${run.name}\` has ended${how}`, {
    hint: 'See the living runs with `forkpoint ps`',
    ...(cause === undefined ? {} : { cause }),
  });
}
