import { createRequire } from 'node:module';
import { once } from 'node:events';
import type { EventEmitter } from 'node:events';
import { join } from 'node:path';
import type { Connection, Target } from './family.ts';

const LIMIT_MS = 10_000;

/** What is used of a client of `ws`. */
interface WsClient extends EventEmitter {
  send(text: string): void;
  terminate(): void;
}

/** What is used of a client of `socket.io-client`. */
interface IoClient {
  timeout(limitMs: number): { emitWithAck(event: string, value: number): Promise<unknown> };
  readonly connected: boolean;
  readonly id: string | undefined;
  disconnect(): void;
  once(event: string, listener: (value: unknown) => void): void;
}

/** Connects a `ws` client; each check is a question and its answer on the same connection. */
export async function connectWs(target: Target): Promise<Connection> {
  const load = createRequire(join(target.modules, 'package.json'));
  const { WebSocket } = load('ws') as { WebSocket: new (url: string) => WsClient };
  const client = new WebSocket(`ws://127.0.0.1:${target.port}`);
  const limit = { signal: AbortSignal.timeout(LIMIT_MS) };
  await once(client, 'open', limit);
  // An end is noticed at the next check, which then gets no answer.
  client.on('error', () => client.terminate());
  return {
    check: async () => {
      const answer = once(client, 'message', { signal: AbortSignal.timeout(LIMIT_MS) });
      client.send('7');
      const [data] = (await answer) as [unknown];
      if (String(data) !== '49') throw new Error(`ws answered ${String(data)} instead of 49`);
    },
    close: () => client.terminate(),
  };
}

/** Connects a Socket.IO client that may not reconnect; each check is an event with its acknowledgement. */
export async function connectSocketIo(target: Target): Promise<Connection> {
  const load = createRequire(join(target.modules, 'package.json'));
  const { io } = load('socket.io-client') as { io: (url: string, options: object) => IoClient };
  const client = io(`http://127.0.0.1:${target.port}`, {
    reconnection: false,
    timeout: LIMIT_MS,
    forceNew: true,
  });
  await new Promise<void>((resolve, reject) => {
    client.once('connect', () => resolve());
    client.once('connect_error', (error) =>
      reject(error instanceof Error ? error : new Error(String(error))),
    );
  });
  const { id } = client;
  return {
    check: async () => {
      const answer = await client.timeout(LIMIT_MS).emitWithAck('square', 7);
      if (answer !== 49 || client.id !== id)
        throw new Error(`Socket.IO answered ${String(answer)} instead of 49`);
    },
    close: () => client.disconnect(),
  };
}

/** Returns a probe that connects, asks once and leaves. */
export function converse(
  connect: (target: Target) => Promise<Connection>,
): (target: Target) => Promise<void> {
  return async (target) => {
    const connection = await connect(target);
    try {
      await connection.check();
    } finally {
      connection.close();
    }
  };
}
