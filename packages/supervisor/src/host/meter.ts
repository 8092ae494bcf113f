import type { Progress, WorkOptions } from './types.ts';

/** Counts the bytes of a step and tells of them. */
export interface Meter {
  readonly signal: AbortSignal | undefined;
  readonly onBytes: (bytes: number) => void;
  /** Tells the last figures. */
  end(): void;
}

const INTERVAL_MS = 100;

/** Returns a meter for a step of about `totalBytes`, 0 when that is not known; `now` is a clock in milliseconds. */
export function meterFor(
  { signal, onProgress }: WorkOptions,
  step: Progress['step'],
  totalBytes: number,
  now: () => number = () => performance.now(),
): Meter {
  const startedMs = now();
  let doneBytes = 0;
  let toldMs = startedMs;
  const tell = (): void =>
    onProgress?.(progressOf({ step, doneBytes, totalBytes, elapsedMs: now() - startedMs }));
  return {
    signal,
    onBytes: (bytes) => {
      doneBytes += bytes;
      if (now() - toldMs < INTERVAL_MS) return;
      toldMs = now();
      tell();
    },
    end: tell,
  };
}

function progressOf(at: {
  step: Progress['step'];
  doneBytes: number;
  totalBytes: number;
  elapsedMs: number;
}): Progress {
  const { step, doneBytes, totalBytes, elapsedMs } = at;
  const bytesPerSecond = Math.round((doneBytes / Math.max(1, elapsedMs)) * 1000);
  const left = totalBytes - doneBytes;
  const isKnown = totalBytes > 0 && bytesPerSecond > 0;
  const leftMs = isKnown ? Math.max(0, Math.round((left / bytesPerSecond) * 1000)) : null;
  return { step, doneBytes, totalBytes, bytesPerSecond, leftMs };
}
