import type { Readable, Writable } from 'node:stream';

/** What `isTTY` is asked of. `setRawMode` is there where Node has made the stream for a terminal. */
interface Standard {
  isTTY?: boolean;
  setRawMode?: unknown;
}

const NAMES = ['stdin', 'stdout', 'stderr'] as const;
type Name = (typeof NAMES)[number];

const opened: Partial<Record<Name, (Readable | Writable) & Standard>> = {};

/**
 * Notes which standard streams the program opens. To ask for one would open it: that changes when a program ends (stdin), and takes
 * a restored one longer than all else that is done before its first line.
 */
export function watchStreams(): void {
  for (const name of NAMES) {
    const own = Object.getOwnPropertyDescriptor(process, name);
    if (own?.get === undefined || own.configurable !== true) continue;
    const get = (): unknown => (opened[name] = own.get?.call(process) as Readable | Writable);
    Object.defineProperty(process, name, { ...own, get });
  }
}

/**
 * Makes `isTTY` of the standard streams true to what a restore has put there. The objects stay: they read and write whatever
 * it is, but programs ask them whether to use colours and single keys. A stream that the program has not opened yet
 * becomes the right one by itself.
 */
export function refreshStreams(): void {
  const { isatty } = process.getBuiltinModule('node:tty');
  for (const [fd, name] of NAMES.entries()) {
    const stream = opened[name];
    if (stream === undefined) continue;
    // Whoever sees a terminal at its input calls setRawMode, which a stream that was made for something else lacks.
    setTerminal(stream, isatty(fd) && (name !== 'stdin' || typeof stream.setRawMode === 'function'));
  }
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
