import { isClass } from './rebuild.ts';

/** A method of a library's class. */
export type Method = (this: object, ...args: unknown[]) => unknown;

// Taken before the program can replace them with a fake clock.
const { setTimeout: startTimer, clearTimeout: stopTimer } = globalThis;

/** Returns the prototype of a class when it has all these methods: a library that looks different inside is left alone. */
export function prototypeWith(
  value: unknown,
  methods: readonly string[],
): Record<string, unknown> | undefined {
  if (!isClass(value)) return undefined;
  const prototype = value.prototype as Record<string, unknown>;
  return methods.every((name) => typeof prototype[name] === 'function') ? prototype : undefined;
}

/** Returns a number with its noun. */
export function count(number: number, one: string, many: string): string {
  return `${number} ${number === 1 ? one : many}`;
}

/** Resolves when `work` says that it is done, and at the latest after `limitMs`. */
export async function withLimit(limitMs: number, work: (done: () => void) => void): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  await new Promise<void>((resolve) => {
    timer = startTimer(resolve, limitMs);
    work(resolve);
  });
  stopTimer(timer);
}
