/**
 * Makes `isTTY` of standard output and error true to what a restore has put there. The objects stay: they write to whatever
 * it is, but programs ask them whether to use colours. Standard input is left alone, because touching it may open it.
 */
export function refreshStreams(): void {
  const { isatty } = process.getBuiltinModule('node:tty');
  for (const stream of [process.stdout, process.stderr]) {
    const isTTY = isatty(stream.fd);
    if (isTTY ? stream.isTTY : !stream.isTTY) continue;
    Object.defineProperty(stream, 'isTTY', {
      value: isTTY,
      configurable: true,
      writable: true,
      enumerable: true,
    });
  }
}
