// Prepares the servers that the adapters are tested with, in .forkpoint/servers: bin/ with initdb, postgres, mariadbd and others.
// Fetched from Debian into this directory, without root. Run by scripts/setup.mjs with a Node that knows TypeScript; a second call
// does nothing.
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { fetchDebianTree, LIBRARIES } from './lib/debian.ts';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const base = join(root, '.forkpoint/servers');
const bin = join(base, 'bin');
const debian = join(base, 'debian');
const mark = join(base, 'ready.json');

const PACKAGES = ['postgresql', 'mariadb-server-core', 'redis-server', 'nats-server', 'memcached'];
/** Where each program lies in its package; `*` is PostgreSQL's version. */
const PROGRAMS = {
  initdb: 'usr/lib/postgresql/*/bin/initdb',
  postgres: 'usr/lib/postgresql/*/bin/postgres',
  mariadbd: 'usr/sbin/mariadbd',
  'redis-server': 'usr/bin/redis-server',
  'nats-server': 'usr/sbin/nats-server',
  memcached: 'usr/bin/memcached',
} as const;
const START_LIMIT_MS = 30_000;

/** Writes commands that give a program the libraries of its tree; PostgreSQL and MariaDB find their other files beside themselves. */
function writeCommands(): void {
  mkdirSync(bin, { recursive: true });
  const [version = ''] = readdirSync(join(debian, 'usr/lib/postgresql'));
  for (const [name, path] of Object.entries(PROGRAMS)) {
    const script = [
      '#!/bin/sh',
      'here=$(cd "$(dirname "$0")/.." && pwd) || exit',
      `LD_LIBRARY_PATH=$here/debian/${LIBRARIES}; export LD_LIBRARY_PATH`,
      `exec "$here/debian/${path.replace('*', version)}" "$@"`,
      '',
    ].join('\n');
    writeFileSync(join(bin, name), script);
    chmodSync(join(bin, name), 0o755);
    // What cannot even tell its version would fail a test in a way that nobody understands.
    execFileSync(join(bin, name), ['--version'], {
      timeout: START_LIMIT_MS,
      stdio: ['ignore', 'ignore', 'inherit'],
    });
  }
}

const wanted = JSON.stringify({ version: 1, packages: PACKAGES });

mkdirSync(base, { recursive: true });
if (!existsSync(mark) || readFileSync(mark, 'utf8') !== wanted) {
  console.error('preparing the servers under test ...');
  rmSync(mark, { force: true });
  await fetchDebianTree(base, debian, PACKAGES);
  writeCommands();
  execFileSync('chmod', ['-R', 'a+rX', base], { timeout: START_LIMIT_MS });
  writeFileSync(mark, wanted);
}
