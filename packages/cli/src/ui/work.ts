import type { Progress, WorkOptions } from '@forkpoint/supervisor/host';
import type { Cli } from '../context.ts';
import { CliError } from '../error.ts';
import { bytesText, durationText } from './format.ts';
import { withProgress } from './progress.ts';

/**
 * Runs work of the host library and returns its result. On a terminal it shows bytes, rate and the time that is left. Ctrl-C
 * and SIGTERM abort the signal once, and the work then cleans up and throws; `interrupted` says how things are then.
 */
export async function withWork<T>(
  cli: Cli,
  label: string,
  work: (given: WorkOptions & { readonly signal: AbortSignal }) => Promise<T>,
  interrupted = 'every image is as it was',
): Promise<T> {
  const abort = new AbortController();
  const interrupt = (): void =>
    abort.abort(new CliError(`interrupted; ${interrupted}`, { code: 'ERR_FORKPOINT_CANCELLED' }));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  let last: Progress | undefined;
  try {
    return await withProgress(
      cli,
      () => `${label} ${progressText(last)}`,
      async () =>
        await work({
          home: cli.places.home,
          cwd: cli.cwd,
          signal: abort.signal,
          onProgress: (progress) => (last = progress),
        }),
    );
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

/** Returns `12 MB of 40 MB, 210 MB/s, 1.2 s left,` as far as it is known. */
export function progressText(at: Progress | undefined): string {
  if (at === undefined || at.doneBytes === 0) return '';
  const { doneBytes, totalBytes, bytesPerSecond, leftMs } = at;
  const share =
    totalBytes > 0
      ? `${bytesText(Math.min(doneBytes, totalBytes))} of ${bytesText(totalBytes)}`
      : bytesText(doneBytes);
  const left = leftMs !== null && leftMs > 0 ? `, ${durationText(leftMs)} left` : '';
  return `${share}, ${bytesText(bytesPerSecond)}/s${left},`;
}
