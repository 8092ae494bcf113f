import { createHash } from 'node:crypto';
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';

/** A digest of names and bytes, in which the random part of page files' names does not count. */
export function digestOf(directory: string): string {
  const hash = createHash('sha256');
  for (const name of filesBelow(directory)) {
    for (const text of [name, readFileSync(join(directory, name), 'latin1')])
      hash.update(text.replaceAll(/[0-9a-f]{12}(-\d+\.pages)/g, 'X$1'), 'latin1');
  }
  return hash.digest('hex');
}

/** Every file below a directory by name. */
export function filesBelow(directory: string): string[] {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .filter((name) => statSync(join(directory, name)).isFile())
    .sort();
}
