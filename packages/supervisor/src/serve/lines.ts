import { connect, createServer } from 'node:net';
import type { Server, Socket } from 'node:net';

/** Longest line of a worker; a program lists where its servers listen in one. */
const LINE_MAX = 65_536;

/** Listens at a unix socket and hands out whole lines, with the connection they came by. */
export function listenForLines(
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
  return new Promise((resolve, reject) => {
    server.once('error', reject);
    server.listen(path, () => resolve(server));
  });
}

/** Tells whether somebody listens at a unix socket. */
export function isAnswered(path: string): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect(path);
    socket.once('error', () => resolve(false));
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
  });
}
