import { request } from 'node:http';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { SupervisorError } from '../error.ts';
import { withShortPath } from './lines.ts';
import type { ServeStatus } from './status.ts';

const ANSWER_MS = 5000;
const ANSWER_MAX = 4 << 20;

/** A living server and how to speak to it. */
export interface LivingServer {
  readonly status: ServeStatus;
  readonly socket: string;
}

/** Returns the living servers of a data directory, oldest first. */
export async function livingServers(home: string): Promise<LivingServer[]> {
  const directory = join(home, 'serve');
  const names = await readdir(directory).catch(() => []);
  const found = await Promise.all(
    names.map(async (name) => {
      const socket = join(directory, name, 'c');
      try {
        // A server of this user and this version answers with its status.
        return [{ socket, status: JSON.parse(await ask(socket, 'GET', '/status')) as ServeStatus }];
      } catch {
        // It was killed: what it has left goes with the next start.
        return [];
      }
    }),
  );
  return found.flat().sort((a, b) => (a.status.startedAt < b.status.startedAt ? -1 : 1));
}

/** Gives an order such as `/reload`. Throws ERR_FORKPOINT_ENDED when the server does not take it. */
export async function order(server: LivingServer, path: string): Promise<string> {
  return await ask(server.socket, 'POST', path);
}

/** Asks a server at its socket; returns the text of the answer. Throws ERR_FORKPOINT_ENDED when there is none within 5 s. */
async function ask(socket: string, method: string, path: string): Promise<string> {
  return await withShortPath(
    socket,
    async (socketPath) =>
      await new Promise((resolve, reject) => {
        const fail = (why: string): void =>
          reject(new SupervisorError('ERR_FORKPOINT_ENDED', `the server at ${socket} ${why}`));
        const asked = request({ socketPath, method, path, timeout: ANSWER_MS, agent: false }, (response) => {
          let text = '';
          response.setEncoding('utf8').on('data', (more: string) => {
            text += more;
            if (text.length > ANSWER_MAX) asked.destroy(new Error('the answer is too long'));
          });
          response.once('end', () => {
            if ((response.statusCode ?? 500) < 300) resolve(text);
            else fail(`answers: ${text.trim()}`);
          });
        });
        asked.once('timeout', () => asked.destroy(new Error(`no answer within ${ANSWER_MS} ms`)));
        asked.once('error', (error) => fail(`does not answer: ${error.message}`));
        asked.end();
      }),
  );
}
