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

/** Where the library's addons lie; read before the program can change its environment. */
const native = process.env['FORKPOINT_NATIVE'] ?? '';
/** How often a process is looked at until it has come to rest, and how many times at most. */
const LOOK_MS = 1000;
const LOOKS_MAX = 60;
/** A process is at rest that took less processor time than this since the last look, in microseconds. */
const REST_US = 20_000;

/**
 * Has malloc give back what it holds free, once this process has come to rest: a child that starts compiles in several threads, and what
 * these have let go of stays in the arena of each, as pages of this child alone. Given up when it does not come to rest within a minute.
 */
export function trimWhenIdle(): void {
  let before = process.cpuUsage();
  let looks = 0;
  const timer = startInterval(() => {
    const { user, system } = process.cpuUsage(before);
    before = process.cpuUsage();
    const isAtRest = user + system < REST_US;
    if (!isAtRest && ++looks < LOOKS_MAX) return;
    stopInterval(timer);
    if (isAtRest) trim();
  }, LOOK_MS);
  timer.unref();
}

function trim(): void {
  try {
    process.dlopen({ exports: {} }, `${native}/trim.node`);
  } catch {
    // Addons are forbidden (--no-addons), or it was never built: the process keeps what it holds.
  }
}

/** Returns how full the heap is, for an image's score. */
export function heapFigures(): Record<string, number> {
  const { heapUsed, heapTotal, external } = process.memoryUsage();
  return { heapUsedBytes: heapUsed, heapTotalBytes: heapTotal, externalBytes: external };
}
