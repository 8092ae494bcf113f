import { spawn } from 'node:child_process';
import { constants } from 'node:os';
import { reasonOf } from '@forkpoint/store';
import { CliError, EXIT } from './error.ts';

/** Signals that are passed on; the launcher passes on the same ones. */
const FORWARDED = [
  'SIGINT',
  'SIGTERM',
  'SIGHUP',
  'SIGQUIT',
  'SIGUSR1',
  'SIGUSR2',
  'SIGWINCH',
  'SIGCONT',
] as const;

/** Runs the launcher on this process's own terminal until it ends, passes signals on, and returns its exit code (128+n for a signal). */
export async function launch(
  launcher: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv,
): Promise<number> {
  const child = spawn(launcher, args, { stdio: 'inherit', env });
  const listeners = FORWARDED.map((signal) => {
    const listener = (): void => void child.kill(signal);
    process.on(signal, listener);
    return { signal, listener };
  });
  try {
    return await new Promise<number>((resolve, reject) => {
      child.once('error', (cause) => {
        const message = `the launcher ${launcher} cannot be started: ${reasonOf(cause)}`;
        reject(new CliError(message, { exitCode: EXIT.ours, hint: 'Run `forkpoint setup`' }));
      });
      child.once('exit', (code, signal) =>
        resolve(code ?? 128 + (signal === null ? 0 : constants.signals[signal])),
      );
    });
  } finally {
    for (const { signal, listener } of listeners) process.removeListener(signal, listener);
  }
}
