import { InvalidArgumentError } from 'commander';
import type { Option } from 'commander';

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

/** Returns a number of children; for use as an option parser of commander. */
export function countOf(value: string): number {
  if (!/^\d{1,4}$/.test(value) || Number(value) < 1 || Number(value) > 1000)
    throw new InvalidArgumentError('It is a number from 1 to 1000.');
  return Number(value);
}

/** Collects the values of an option that may be given several times. */
export function collect(value: string, earlier: string[] | undefined): string[] {
  return [...(earlier ?? []), value];
}

const AGES: Readonly<Record<string, number>> = {
  s: 1000,
  min: 60_000,
  h: 3_600_000,
  d: 86_400_000,
  w: 604_800_000,
};
const SIZES: Readonly<Record<string, number>> = { B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9, TB: 1e12 };

/** Returns milliseconds for an age such as 30d, 12h or 45min; for use as an option parser of commander. */
export function ageMs(value: string): number {
  const [, number = '', unit = ''] = /^(\d{1,6}(?:\.\d+)?)(s|min|h|d|w)$/.exec(value) ?? [];
  const factor = AGES[unit];
  if (factor === undefined) throw new InvalidArgumentError('It is an age, such as 30d, 12h or 45min.');
  return Number(number) * factor;
}

/** Has the help show the default of a time or an age as it is typed, and not in the milliseconds that it became. */
export function describeDefault(option: Option): void {
  const { defaultValue, parseArg } = option as { defaultValue: unknown; parseArg?: unknown };
  if (typeof defaultValue !== 'number') return;
  if (parseArg === secondsToMs) option.defaultValueDescription = String(defaultValue / 1000);
  if (parseArg === ageMs) option.defaultValueDescription = `${defaultValue / (AGES['d'] ?? 1)}d`;
}

/** Returns bytes for a size such as 10GB or 500MB; for use as an option parser of commander. */
export function sizeBytes(value: string): number {
  const [, number = '', unit = 'B'] = /^(\d{1,15}(?:\.\d+)?)(B|[kK]B|[MGT]B)?$/.exec(value) ?? [];
  const factor = SIZES[unit];
  if (number === '' || factor === undefined)
    throw new InvalidArgumentError('It is a size, such as 10GB or 500MB.');
  return Math.floor(Number(number) * factor);
}
