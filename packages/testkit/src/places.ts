import { fileURLToPath } from 'node:url';
import { join } from 'node:path';

/** The checkout. */
export const root: string = fileURLToPath(new URL('../../..', import.meta.url));

/** Returns the path of a program that tests run in pods. */
export function programPath(name: string): string {
  return join(root, 'packages/testkit/src/programs', name);
}

/** The Node versions under test. */
export type NodeMajor = 20 | 22 | 24 | 26;

/** Returns the path of a Node binary: of package.json, or of those that scripts/setup.mjs installs for tests. */
export function nodeBinary(major: NodeMajor): string {
  const isOfPackage = major === 20 || major === 24;
  return join(root, isOfPackage ? '' : '.forkpoint/runtimes', `node_modules/node${major}/bin/node`);
}

/** Returns the path of a command that scripts/setup.mjs installs for tests, such as `tsx`. */
export function testCommand(name: string): string {
  return join(root, '.forkpoint/runtimes/node_modules/.bin', name);
}
