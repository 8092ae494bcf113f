import { randomBytes } from 'node:crypto';
import { existsSync, rmSync } from 'node:fs';
import { mkdir, readdir, rm } from 'node:fs/promises';
import { createServer } from 'node:net';
import type { Server, Socket } from 'node:net';
import { join } from 'node:path';
import { Line } from './line.ts';
import { fromInside } from './messages.ts';

/** Who gets what comes over a line. */
export interface Party {
  opened(line: Line): void;
  received(message: unknown): void;
  ended(): void;
}

/** Where molds and clones report, one socket for all of them. */
export class Hub {
  readonly path: string;
  readonly #server: Server;
  readonly #awaited = new Map<string, Party>();

  private constructor(path: string) {
    this.path = path;
    this.#server = createServer((socket) => this.#accept(socket));
  }

  /** Listens in a directory, which is made. The socket goes with this process. */
  static async open(directory: string): Promise<Hub> {
    await mkdir(directory, { recursive: true, mode: 0o700 });
    await removeOrphans(directory);
    const hub = new Hub(join(directory, `vitest-${process.pid}-${randomBytes(3).toString('hex')}.sock`));
    await new Promise<void>((resolve, reject) => {
      hub.#server.once('error', reject);
      hub.#server.listen(hub.path, resolve);
    });
    hub.#server.unref();
    process.once('exit', () => rmSync(hub.path, { force: true }));
    return hub;
  }

  /** Returns the word by which somebody will be known who is about to come. */
  await(party: Party): string {
    const token = randomBytes(12).toString('hex');
    this.#awaited.set(token, party);
    return token;
  }

  /** Nobody comes any more. */
  forget(token: string): void {
    this.#awaited.delete(token);
  }

  #accept(socket: Socket): void {
    let party: Party | undefined;
    const line = new Line(
      socket,
      (message) => {
        if (party !== undefined) {
          party.received(message);
          return;
        }
        const hello = fromInside(message);
        if (hello?.forkpoint !== 'hello') {
          line.destroy();
          return;
        }
        party = this.#awaited.get(hello.token);
        this.#awaited.delete(hello.token);
        if (party === undefined) line.destroy();
        else party.opened(line);
      },
      () => party?.ended(),
    );
  }
}

/** Removes the sockets of processes that were killed. */
async function removeOrphans(directory: string): Promise<void> {
  for (const name of await readdir(directory)) {
    const [, pid] = /^vitest-(\d+)-[0-9a-f]+\.sock$/.exec(name) ?? [];
    if (pid !== undefined && !existsSync(`/proc/${pid}`)) await rm(join(directory, name), { force: true });
  }
}
