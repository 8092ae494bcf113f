import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

/** The checkout. */
export const root: string = fileURLToPath(new URL('../../..', import.meta.url));

/** Returns the path of a program that tests run in pods. */
export function programPath(name: string): string {
  return join(root, 'packages/testkit/src/programs', name);
}

/** Returns the path of a Node binary of the given major version; the ones of package.json. */
export function nodeBinary(major: 20 | 24): string {
  return join(root, `node_modules/node${major}/bin/node`);
}
