import { closeSync, constants, openSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { basename, dirname } from 'node:path';
import { SupervisorError } from '../error.ts';

/** Longest line of a worker, in characters; a program lists in one where it listens and what it has read. */
const LINE_MAX = 1 << 20;
/** Longest path in a unix socket's address, in bytes (sun_path in unix(7), with its NUL). */
const ADDRESS_BYTES = 107;

/**
 * Calls `use` with a path of the socket that fits into an address: its own, or one by way of a descriptor of its
 * directory, which stays open until `use` has ended. Throws what `use` throws, and when there is no such directory.
 */
export async function withShortPath<T>(path: string, use: (path: string) => Promise<T>): Promise<T> {
  if (Buffer.byteLength(path) <= ADDRESS_BYTES) return await use(path);
  const fd = openSync(dirname(path), constants.O_RDONLY | constants.O_DIRECTORY);
  try {
    return await use(`/proc/self/fd/${fd}/${basename(path)}`);
  } finally {
    closeSync(fd);
  }
}

/** Listens at a unix socket and hands out whole lines, with the connection they came by. */
export async function listenForLines(
  path: string,
  onLine: (line: string, socket: Socket) => void,
): Promise<Server> {
  const server = createServer((socket) => {
    let text = '';
    socket.setEncoding('utf8');
    socket.on('error', () => socket.destroy());
    socket.on('data', (more: string) => {
      text += more;
      for (let end: number; (end = text.indexOf('\n')) >= 0; text = text.slice(end + 1))
        onLine(text.slice(0, end), socket);
      if (text.length > LINE_MAX) socket.destroy();
    });
  });
  await listenAt(server, path);
  return server;
}

/** Listens at a unix socket, whatever the length of its path. Rejects with the error of listen. */
export async function listenAt(server: Server, path: string): Promise<void> {
  await withShortPath(
    path,
    async (short) =>
      await new Promise<void>((resolve, reject) => {
        server.once('error', reject);
        server.listen(short, () => {
          server.off('error', reject);
          resolve();
        });
      }),
  );
}

/** An address of an operator's page. */
export interface PlaceToListen {
  readonly host: string;
  readonly port: number;
}

/** Listens at a port; returns the address with the port that it came to be. Throws ERR_FORKPOINT_LISTEN. */
export async function listenOn(server: Server, { host, port }: PlaceToListen): Promise<string> {
  await new Promise<void>((resolve, reject) => {
    server.once('error', (error) => {
      const hint = `see who listens there: ss -ltnp 'sport = :${port}'`;
      reject(
        new SupervisorError('ERR_FORKPOINT_LISTEN', `cannot listen at ${host}:${port}: ${error.message}`, {
          hint,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
  const address = server.address();
  const shown = host.includes(':') ? `[${host}]` : host;
  return `${shown}:${typeof address === 'object' && address !== null ? address.port : port}`;
}

/** Tells whether somebody listens at a unix socket. */
export async function isAnswered(path: string): Promise<boolean> {
  return await withShortPath(
    path,
    async (short) =>
      await new Promise<boolean>((resolve) => {
        const socket = connect(short);
        socket.once('error', () => resolve(false));
        socket.once('connect', () => {
          socket.destroy();
          resolve(true);
        });
      }),
  );
}
