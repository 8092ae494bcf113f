import { join } from 'node:path';

/** Where the warm command lines of a data directory lie; all paths are absolute. */
export interface WarmPlaces {
  readonly root: string;
  /** Executables under the names of the commands, for PATH. */
  readonly bin: string;
}

/** Returns the places below a data directory. */
export function warmPlaces(home: string): WarmPlaces {
  const root = join(home, 'warm');
  return { root, bin: join(root, 'bin') };
}

/** Returns the directory of one project's images of a command. */
export function projectDirectory(places: WarmPlaces, name: string, project: string): string {
  return join(places.root, name, digest64(project));
}

const OFFSET = 0xcbf29ce484222325n;
const PRIME = 0x100000001b3n;

/** FNV-1a of 64 bits as 16 hexadecimal digits, as the launcher computes it (warm.c). */
export function digest64(text: string | Uint8Array): string {
  let hash = OFFSET;
  for (const byte of typeof text === 'string' ? Buffer.from(text) : text)
    hash = BigInt.asUintN(64, (hash ^ BigInt(byte)) * PRIME);
  return hash.toString(16).padStart(16, '0');
}
