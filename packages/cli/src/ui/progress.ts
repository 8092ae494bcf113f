import type { Cli } from '../context.ts';

const QUIET_MS = 250;
const FRAME_MS = 100;
const FRAMES = ['-', '\\', '|', '/'];

/**
 * Runs work and returns its result. On a terminal a line with a spinner shows after 250 ms of silence, and is gone at the
 * end. A label that changes is given as a function.
 */
export async function withProgress<T>(
  cli: Cli,
  label: string | (() => string),
  work: () => Promise<T>,
): Promise<T> {
  if (!cli.isErrTerminal) return await work();
  const startedMs = Date.now();
  let frame = 0;
  const draw = (): void => {
    if (Date.now() - startedMs < QUIET_MS) return;
    frame = (frame + 1) % FRAMES.length;
    const seconds = ((Date.now() - startedMs) / 1000).toFixed(1);
    const words = typeof label === 'string' ? label : label();
    cli.writeErr(`\r\u001b[K${FRAMES[frame]} ${words} ${seconds} s`);
  };
  const timer = setInterval(draw, FRAME_MS);
  try {
    return await work();
  } finally {
    clearInterval(timer);
    if (frame > 0 || Date.now() - startedMs >= QUIET_MS) cli.writeErr('\r\u001b[K');
  }
}
