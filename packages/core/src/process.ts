// Taken before the program can replace them with a fake clock.
const { setInterval: startInterval, clearInterval: stopInterval } = globalThis;

/** Waits for a promise that does not keep the process alive by itself. */
export async function keepAliveUntil(promise: Promise<unknown>): Promise<void> {
  const timer = startInterval(() => undefined, 60_000);
  try {
    await promise;
  } finally {
    stopInterval(timer);
  }
}

/** Returns how full the heap is, for an image's score. */
export function heapFigures(): Record<string, number> {
  const { heapUsed, heapTotal, external } = process.memoryUsage();
  return { heapUsedBytes: heapUsed, heapTotalBytes: heapTotal, externalBytes: external };
}
