import type { Cli } from '../context.ts';
import { bytesText, durationText } from './format.ts';
import { withProgress } from './progress.ts';

/** What work on many bytes gets: when to give up, and whom to tell of the bytes that are done. */
export interface Work {
  readonly signal: AbortSignal;
  readonly onBytes: (bytes: number) => void;
}

/**
 * Runs work on about `total` bytes (0 when that is not known) and returns its result. On a terminal it shows bytes, rate and
 * the time that is left. Ctrl-C and SIGTERM abort the signal once, and the work then cleans up and throws.
 */
export async function withBytes<T>(
  cli: Cli,
  label: string,
  total: number,
  work: (given: Work) => Promise<T>,
): Promise<T> {
  const abort = new AbortController();
  const interrupt = (): void => abort.abort(new Error('it was interrupted'));
  process.once('SIGINT', interrupt);
  process.once('SIGTERM', interrupt);
  const started = performance.now();
  let done = 0;
  try {
    return await withProgress(
      cli,
      () => `${label} ${progressText({ done, total, elapsedMs: performance.now() - started })}`,
      async () => await work({ signal: abort.signal, onBytes: (bytes) => (done += bytes) }),
    );
  } finally {
    process.removeListener('SIGINT', interrupt);
    process.removeListener('SIGTERM', interrupt);
  }
}

/** Returns `12 MB of 40 MB, 210 MB/s, 1.2 s left,` as far as it is known. */
export function progressText(at: { done: number; total: number; elapsedMs: number }): string {
  const { done, total, elapsedMs } = at;
  if (done === 0) return '';
  const rate = (done / Math.max(1, elapsedMs)) * 1000;
  const share = total > 0 ? `${bytesText(Math.min(done, total))} of ${bytesText(total)}` : bytesText(done);
  const left = total > done ? `, ${durationText(((total - done) / rate) * 1000)} left` : '';
  return `${share}, ${bytesText(rate)}/s${left},`;
}
