import * as fs from 'node:fs';

/** Longest path in a unix socket's address, in bytes (sun_path in unix(7), with its NUL). */
const ADDRESS_BYTES = 107;

/**
 * Returns a path for bind(2) and connect(2) that is short enough, by way of a descriptor of its directory where the path
 * itself is not. `release` closes that descriptor.
 */
export function shortPath(path: string): { path: string; release: () => void } {
  if (Buffer.byteLength(path) <= ADDRESS_BYTES) return { path, release: () => undefined };
  const slash = path.lastIndexOf('/');
  const fd = fs.openSync(path.slice(0, slash), fs.constants.O_RDONLY | fs.constants.O_DIRECTORY);
  return { path: `/proc/self/fd/${fd}/${path.slice(slash + 1)}`, release: () => fs.closeSync(fd) };
}
