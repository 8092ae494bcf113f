import type { Readable, Writable } from 'node:stream';

/** What `isTTY` is asked of. `setRawMode` is there where Node has made the stream for a terminal. */
interface Standard {
  isTTY?: boolean;
  setRawMode?: unknown;
}

let input: (Readable & Standard) | undefined;

/** Notes when the program opens its standard input: to ask for it would open it, which changes when a program ends. */
export function watchInput(): void {
  const own = Object.getOwnPropertyDescriptor(process, 'stdin');
  if (own?.get === undefined || own.configurable !== true) return;
  const get = (): Readable & Standard => (input = own.get?.call(process) as Readable);
  Object.defineProperty(process, 'stdin', { ...own, get });
}

/**
 * Makes `isTTY` of the standard streams true to what a restore has put there. The objects stay: they read and write whatever
 * it is, but programs ask them whether to use colours and single keys. A standard input that the program has not opened yet
 * becomes the right one by itself.
 */
export function refreshStreams(): void {
  const { isatty } = process.getBuiltinModule('node:tty');
  for (const stream of [process.stdout, process.stderr]) setTerminal(stream, isatty(stream.fd));
  // Whoever sees a terminal calls setRawMode, which a stream that was made for something else lacks.
  if (input !== undefined) setTerminal(input, isatty(0) && typeof input.setRawMode === 'function');
}

/** Exported for tests. */
export function setTerminal(stream: (Readable | Writable) & Standard, isTTY: boolean): void {
  if (isTTY === (stream.isTTY === true)) return;
  Object.defineProperty(stream, 'isTTY', {
    value: isTTY,
    configurable: true,
    writable: true,
    enumerable: true,
  });
}
