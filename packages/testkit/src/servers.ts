import { chownSync, mkdtempSync } from 'node:fs';
import { createServer } from 'node:net';
import { join } from 'node:path';
import type { Person } from './person.ts';
import { root } from './places.ts';
import type { Running } from './process.ts';

/** A server of a test's own, on the loopback interface. */
export interface TestServer {
  readonly port: number;
  /** The directory of its unix socket, where it has one. */
  readonly directory: string;
  /** What it has said so far. */
  said(): string;
  stop(): Promise<void>;
}

const START_LIMIT_MS = 180_000;

function program(name: string): string {
  return join(root, '.forkpoint/servers/bin', name);
}

/** Below those that the kernel gives away by itself (net.ipv4.ip_local_port_range). */
const [FIRST, LAST] = [20_000, 32_000];

/** Returns a port at which nobody listens now. */
export async function freePort(): Promise<number> {
  for (let time = 0; time < 100; time++) {
    const port = FIRST + Math.floor(Math.random() * (LAST - FIRST));
    const isFree = await new Promise<boolean>((resolve) => {
      const server = createServer();
      server.once('error', () => resolve(false));
      server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
    });
    if (isFree) return port;
  }
  throw new Error(`no port from ${FIRST} to ${LAST} is free`);
}

/** Starts PostgreSQL as a person; its only user, `tester`, needs no password. */
export async function startPostgres(person: Person): Promise<TestServer> {
  const directory = directoryOf(person, 'pg');
  // PostgreSQL refuses to run as root and wants a user that has a name.
  const nobody = ['unshare', '--user', '--map-user=65534', '--map-group=65534', '--'];
  const data = join(directory, 'data');
  await ended(
    person.start(
      [...nobody, program('initdb'), '-D', data, '-U', 'tester', '-A', 'trust', '--no-sync', '--locale=C'],
      { timeoutMs: START_LIMIT_MS },
    ),
  );
  const port = await freePort();
  const settings = Object.entries({
    listen_addresses: '127.0.0.1',
    port: String(port),
    unix_socket_directories: directory,
    fsync: 'off',
    max_connections: '60',
  }).flatMap(([name, value]) => ['-c', `${name}=${value}`]);
  return await serving(
    person.start([...nobody, program('postgres'), '-D', data, ...settings], { timeoutMs: 600_000 }),
    /ready to accept connections/,
    { port, directory },
    'SIGQUIT',
  );
}

/** Starts MariaDB as a person, with neither users nor passwords. */
export async function startMariadb(person: Person): Promise<TestServer> {
  const directory = directoryOf(person, 'mariadb');
  const tree = join(root, '.forkpoint/servers/debian/usr');
  const port = await freePort();
  const settings = Object.entries({
    basedir: tree,
    datadir: directory,
    'lc-messages-dir': join(tree, 'share/mysql/english'),
    'plugin-dir': join(tree, 'lib/mysql/plugin'),
    socket: join(directory, 'socket'),
    'bind-address': '127.0.0.1',
    port: String(port),
    'innodb-data-file-path': 'ibdata1:5M:autoextend',
    'innodb-log-file-size': '5M',
    'innodb-buffer-pool-size': '8M',
    'innodb-fast-shutdown': '2',
  }).map(([name, value]) => `--${name}=${value}`);
  const user = person.uid === 0 ? ['--user=root'] : [];
  const words = ['--no-defaults', '--skip-grant-tables', ...settings, ...user];
  const running = person.start([program('mariadbd'), ...words], { timeoutMs: 600_000 });
  return await serving(running, /ready for connections/, { port, directory });
}

/** Starts Redis as a person. */
export async function startRedis(person: Person): Promise<TestServer> {
  const directory = directoryOf(person, 'redis');
  const port = await freePort();
  const words = ['--bind', '127.0.0.1', '--port', String(port), '--save', '', '--dir', directory];
  const running = person.start([program('redis-server'), ...words], { timeoutMs: 600_000 });
  return await serving(running, /Ready to accept connections/, { port, directory });
}

/** Starts a NATS server as a person. */
export async function startNats(person: Person): Promise<TestServer> {
  const port = await freePort();
  const words = ['--addr', '127.0.0.1', '--port', String(port)];
  const running = person.start([program('nats-server'), ...words], { timeoutMs: 600_000 });
  return await serving(running, /Server is ready/, { port, directory: person.scratch });
}

/** Starts RabbitMQ as a person; it also takes the two ports above its own. */
export async function startRabbitmq(person: Person): Promise<TestServer> {
  const directory = directoryOf(person, 'rabbitmq');
  const port = await freePort();
  const running = person.start([program('rabbitmq-server'), directory, String(port)], { timeoutMs: 600_000 });
  return await serving(running, /Server startup complete/, { port, directory }, 'SIGKILL');
}

/** Starts memcached as a person. */
export async function startMemcached(person: Person): Promise<TestServer> {
  const port = await freePort();
  const words = [
    '-l',
    '127.0.0.1',
    '-p',
    String(port),
    '-U',
    '0',
    '-vv',
    ...(person.uid === 0 ? ['-u', 'root'] : []),
  ];
  const running = person.start([program('memcached'), ...words], { timeoutMs: 600_000 });
  return await serving(running, /server listening/, { port, directory: person.scratch });
}

async function serving(
  running: Running,
  isReady: RegExp,
  place: { port: number; directory: string },
  signal: NodeJS.Signals = 'SIGTERM',
): Promise<TestServer> {
  await running.output(isReady, START_LIMIT_MS);
  return {
    ...place,
    said: () => `${running.stdout}${running.stderr}`,
    stop: async () => {
      await running.stop(signal);
    },
  };
}

async function ended(running: Running): Promise<void> {
  running.child.stdin?.end();
  const { code, stdout, stderr } = await running.end();
  if (code !== 0) throw new Error(`a server could not be prepared: ${stdout}${stderr}`);
}

/** Makes an empty directory of the person's. */
function directoryOf(person: Person, name: string): string {
  const directory = mkdtempSync(join(person.scratch, `${name}-`));
  if (process.getuid?.() === 0) chownSync(directory, person.uid, person.uid);
  return directory;
}
