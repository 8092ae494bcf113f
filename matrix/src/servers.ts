import {
  accessSync,
  chownSync,
  constants,
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { createServer } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Running, runToEnd } from '@forkpoint/testkit';
import type { ServerName } from './family.ts';

const LIFE_MS = 3 * 3_600_000;
const START_MS = 60_000;
const ORDINARY = 61_001;

/** A server of the matrix's own on loopback. */
export interface Server {
  readonly url: string;
  stop(): Promise<void>;
}

/** Thrown when a server's programs are not on this machine. */
export class MissingServerError extends Error {
  readonly code = 'ERR_FORKPOINT_MATRIX_SERVER';
}

const PACKAGES = { postgres: 'postgresql', mariadb: 'mariadb-server', redis: 'redis-server' } as const;

/** Starts a server with its data in a temporary directory, as an ordinary user. Throws {@link MissingServerError}. */
export async function startServer(name: ServerName): Promise<Server> {
  switch (name) {
    case 'postgres':
      return await startPostgres();
    case 'mariadb':
      return await startMariadb();
    case 'redis':
      return await startRedis();
  }
}

async function startPostgres(): Promise<Server> {
  const [initdb, postgres] = [programOf('initdb', 'postgres'), programOf('postgres', 'postgres')];
  // initdb wants a user with a name: the one of the Debian package.
  const user = owner('postgres');
  const data = scratch(user);
  const made = await runToEnd(
    [...as(user), initdb, '-D', data, '-U', 'matrix', '-A', 'trust', '--no-sync', '-E', 'UTF8'],
    { cwd: data },
  );
  if (made.code !== 0) throw new Error(`initdb ended with ${made.code}: ${made.stderr}`);
  const port = await freePort();
  const options = ['-c', 'listen_addresses=127.0.0.1', '-c', 'fsync=off'];
  const argv = [...as(user), postgres, '-D', data, '-p', String(port), '-k', data, ...options];
  return await serve(
    argv,
    data,
    /ready to accept connections/,
    `postgres://matrix@127.0.0.1:${port}/postgres`,
  );
}

async function startMariadb(): Promise<Server> {
  const [install, mariadbd] = [programOf('mariadb-install-db', 'mariadb'), programOf('mariadbd', 'mariadb')];
  const user = owner(null);
  const data = scratch(user);
  const flags = [
    '--no-defaults',
    `--datadir=${join(data, 'db')}`,
    '--auth-root-authentication-method=normal',
    '--skip-test-db',
  ];
  const made = await runToEnd([...as(user), install, ...flags], { cwd: data });
  if (made.code !== 0)
    throw new Error(`mariadb-install-db ended with ${made.code}: ${made.stdout}${made.stderr}`);
  const port = await freePort();
  const init = join(data, 'init.sql');
  writeFileSync(
    init,
    "create database matrix;\ncreate user 'matrix'@'%';\ngrant all on matrix.* to 'matrix'@'%';\n",
  );
  const argv = [
    ...[
      ...as(user),
      mariadbd,
      '--no-defaults',
      `--datadir=${join(data, 'db')}`,
      `--socket=${join(data, 'socket')}`,
    ],
    ...[
      `--port=${port}`,
      '--bind-address=127.0.0.1',
      '--skip-name-resolve',
      `--pid-file=${join(data, 'pid')}`,
      `--init-file=${init}`,
    ],
  ];
  return await serve(argv, data, /ready for connections/, `mysql://matrix@127.0.0.1:${port}/matrix`);
}

async function startRedis(): Promise<Server> {
  const redis = programOf('redis-server', 'redis');
  const user = owner(null);
  const data = scratch(user);
  const port = await freePort();
  const argv = [
    ...as(user),
    redis,
    '--port',
    String(port),
    '--bind',
    '127.0.0.1',
    '--dir',
    data,
    '--save',
    '',
    '--appendonly',
    'no',
  ];
  return await serve(argv, data, /Ready to accept connections/, `redis://127.0.0.1:${port}`);
}

async function serve(argv: readonly string[], data: string, ready: RegExp, url: string): Promise<Server> {
  const server = new Running(argv, { cwd: data, timeoutMs: LIFE_MS });
  const stop = async (): Promise<void> => {
    await server.stop('SIGTERM');
    rmSync(data, { recursive: true, force: true, maxRetries: 3 });
  };
  try {
    await server.output(ready, START_MS);
  } catch (error) {
    await stop();
    throw error;
  }
  return { url, stop };
}

/** Finds a server's program on PATH, in the directories of administrators, or where Debian keeps PostgreSQL's. */
function programOf(program: string, server: ServerName): string {
  const versions = existsSync('/usr/lib/postgresql')
    ? readdirSync('/usr/lib/postgresql').sort().reverse()
    : [];
  const directories = [
    ...(process.env['PATH'] ?? '').split(':').filter((path) => path !== ''),
    ...['/usr/sbin', '/usr/local/sbin', '/sbin'],
    ...versions.map((version) => `/usr/lib/postgresql/${version}/bin`),
  ];
  for (const directory of directories) {
    const path = join(directory, program);
    try {
      accessSync(path, constants.X_OK);
      return path;
    } catch {
      // It is not here; the next directory may have it.
    }
  }
  throw new MissingServerError(`${program} is not on this machine: \`apt-get install ${PACKAGES[server]}\``);
}

/** The user that a server runs as: ourselves, or when we are root somebody without rights. */
function owner(name: string | null): number | null {
  if (process.getuid?.() !== 0) return null;
  if (name === null) return ORDINARY;
  const entry = new RegExp(`^${name}:[^:]*:(\\d+):`, 'm').exec(readFileSync('/etc/passwd', 'utf8'));
  if (entry === null)
    throw new MissingServerError(`there is no user ${name}: \`apt-get install ${PACKAGES.postgres}\``);
  return Number(entry[1]);
}

function as(user: number | null): readonly string[] {
  return user === null
    ? []
    : ['setpriv', `--reuid=${user}`, `--regid=${user}`, '--clear-groups', '--inh-caps=-all', '--'];
}

function scratch(user: number | null): string {
  const directory = mkdtempSync(join(tmpdir(), 'fp-server-'));
  if (user !== null) chownSync(directory, user, user);
  return directory;
}

/** Returns a port on loopback that was free a moment ago. */
export async function freePort(): Promise<number> {
  return await new Promise((resolve, reject) => {
    const server = createServer();
    server.once('error', reject);
    server.listen(0, '127.0.0.1', () => {
      const address = server.address();
      server.close(() => resolve(typeof address === 'object' && address !== null ? address.port : 0));
    });
  });
}
