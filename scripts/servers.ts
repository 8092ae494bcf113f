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

const PACKAGES = [
  'postgresql',
  'mariadb-server-core',
  'redis-server',
  'nats-server',
  'memcached',
  'rabbitmq-server',
];
/** Where each program lies in its package; `*` is PostgreSQL's version. */
const PROGRAMS = {
  initdb: 'usr/lib/postgresql/*/bin/initdb',
  postgres: 'usr/lib/postgresql/*/bin/postgres',
  mariadbd: 'usr/sbin/mariadbd',
  'redis-server': 'usr/bin/redis-server',
  'nats-server': 'usr/sbin/nats-server',
  memcached: 'usr/bin/memcached',
} as const;
/**
 * RabbitMQ without its own scripts, which write to /var and start a daemon that others find: `rabbitmq-server DIR PORT`. The names of Erlang's nodes
 * are kept by a daemon of its own, at the port above, which ends with it; at the next one Erlang's nodes would meet.
 */
const RABBITMQ = `
set -a
ROOTDIR=$here/debian/usr/lib/erlang EMU=beam PROGNAME=erl
BINDIR=$(echo "$ROOTDIR"/erts-*/bin)
[ "$1" = --version ] && exec "$BINDIR/erlexec" -version 2>/dev/null
dir=$1 port=$2
ERL_EPMD_PORT=$((port + 1)) ERL_EPMD_ADDRESS=127.0.0.1 HOME=$dir
RABBITMQ_HOME=$(echo "$here"/debian/usr/lib/rabbitmq/lib/rabbitmq_server-*)
RABBITMQ_PLUGINS_DIR=$RABBITMQ_HOME/plugins RABBITMQ_NODENAME=t$port@localhost RABBITMQ_NODE_PORT=$port
RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_DIST_PORT=$((port + 2)) RABBITMQ_LOGS=- RABBITMQ_LOG_BASE=$dir
RABBITMQ_MNESIA_BASE=$dir/mnesia RABBITMQ_QUORUM_DIR=$dir/quorum RABBITMQ_STREAM_DIR=$dir/stream
RABBITMQ_FEATURE_FLAGS_FILE=$dir/flags RABBITMQ_ENABLED_PLUGINS_FILE=$dir/plugins
RABBITMQ_CONFIG_FILE=$dir/none RABBITMQ_ADVANCED_CONFIG_FILE=$dir/none-either
RABBITMQ_GENERATED_CONFIG_DIR=$dir/generated RABBITMQ_SCHEMA_DIR=$dir/schema
echo '[].' > "$dir/plugins"
setpriv --pdeathsig KILL "$BINDIR/epmd" &
exec "$BINDIR/erlexec" -noinput +W w +S 1:1 +sbwt none -boot "$ROOTDIR/bin/start_sasl" -pa "$RABBITMQ_HOME"/plugins/*/ebin \\
  -kernel inet_dist_use_interface '{127,0,0,1}' -s rabbit boot
`;
const START_LIMIT_MS = 30_000;

/** Writes commands that give a program the libraries of its tree; PostgreSQL and MariaDB find their other files beside themselves. */
function writeCommands(): void {
  mkdirSync(bin, { recursive: true });
  const [version = ''] = readdirSync(join(debian, 'usr/lib/postgresql'));
  const commands = Object.entries(PROGRAMS).map(([name, path]) => [
    name,
    `exec "$here/debian/${path.replace('*', version)}" "$@"\n`,
  ]);
  for (const [name = '', command = ''] of [...commands, ['rabbitmq-server', RABBITMQ]]) {
    const script = [
      '#!/bin/sh',
      'here=$(cd "$(dirname "$0")/.." && pwd) || exit',
      `LD_LIBRARY_PATH=$here/debian/${LIBRARIES}; export LD_LIBRARY_PATH`,
      command,
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
