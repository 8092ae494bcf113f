import { InvalidArgumentError } from 'commander';

/** Collects `--env K=V` and `--label K=V` into a dictionary; for use as an option parser of commander. */
export function collectPairs(
  value: string,
  earlier: Record<string, string> | undefined,
): Record<string, string> {
  const at = value.indexOf('=');
  if (at < 1) throw new InvalidArgumentError('It is written NAME=VALUE.');
  return Object.fromEntries([...Object.entries(earlier ?? {}), [value.slice(0, at), value.slice(at + 1)]]);
}

/** Returns milliseconds for a number of seconds above 0 and up to a day; for use as an option parser of commander. */
export function secondsToMs(value: string): number {
  const seconds = Number(value);
  if (!/^\d+(\.\d+)?$/.test(value) || seconds <= 0 || seconds > 86_400) {
    throw new InvalidArgumentError('It is a number of seconds, such as 30 or 0.5.');
  }
  return Math.max(1, Math.round(seconds * 1000));
}

/** Returns a pid; for use as an option parser of commander. */
export function pidOf(value: string): number {
  // PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h).
  if (!/^\d{1,7}$/.test(value) || Number(value) < 1 || Number(value) > 4_194_304)
    throw new InvalidArgumentError('It is a pid.');
  return Number(value);
}

/** Collects the values of an option that may be given several times. */
export function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}
