import { lstat, stat } from 'node:fs/promises';
import { connect, createServer } from 'node:net';
import type { ListenOptions } from 'node:net';
import { dirname } from 'node:path';
import type { ManifestSlot } from '@forkpoint/manifest';
import { errnoOf, reasonOf } from './error.ts';

const CONNECT_MS = 500;

/** Returns why the address of a slot cannot be listened on, or undefined when it can. */
export async function slotProblem(slot: ManifestSlot): Promise<string | undefined> {
  if (slot.kind === 'tcp') {
    // Such a socket shares its port with others; Node 20 cannot set the option, and would report a clash that is none.
    if (slot.options.includes('reuseport')) return undefined;
    const host = slot.address;
    const where = `${slot.family === 6 ? `[${host}]` : host}:${slot.port}`;
    const errno = await tryListen({
      host,
      port: slot.port,
      ipv6Only: slot.options.includes('v6only'),
      exclusive: true,
    });
    if (errno === undefined) return undefined;
    if (errno === 'EADDRINUSE') return `the address ${where} is in use`;
    if (errno === 'EADDRNOTAVAIL') return `the address ${where} does not exist on this machine`;
    if (errno === 'EACCES') return `the address ${where} may not be used by this user`;
    return `the address ${where} cannot be used: ${errno}`;
  }
  if (slot.kind === 'unix' && slot.path.startsWith('/')) return await unixProblem(slot.path);
  return undefined;
}

async function tryListen(options: ListenOptions): Promise<string | undefined> {
  const server = createServer();
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(options, resolve);
    });
    return undefined;
  } catch (error) {
    return errnoOf(error) ?? String(error);
  } finally {
    await new Promise<void>((resolve) => server.close(() => resolve()));
  }
}

async function unixProblem(path: string): Promise<string | undefined> {
  try {
    if (!(await stat(dirname(path))).isDirectory()) return `${dirname(path)} is not a directory`;
  } catch (error) {
    return `the directory of the socket ${path} is not there: ${reasonOf(error)}`;
  }
  try {
    if (!(await lstat(path)).isSocket()) return `${path} is in the way of a socket and is none itself`;
  } catch (error) {
    return errnoOf(error) === 'ENOENT' ? undefined : `${path} cannot be looked at: ${reasonOf(error)}`;
  }
  // A socket file that nobody listens on is a leftover, which the restorer replaces.
  return (await canConnect(path)) ? `the address ${path} is in use` : undefined;
}

async function canConnect(path: string): Promise<boolean> {
  const socket = connect(path);
  try {
    return await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
      socket.setTimeout(CONNECT_MS, () => resolve(true));
    });
  } finally {
    socket.destroy();
  }
}
