import { randomBytes } from 'node:crypto';
import type { Server, Socket } from 'node:net';

import { SocketChannel } from './channel.ts';
import { Birth } from './child.ts';
import type { BirthKind, ForkedChild, LineKind } from './child.ts';

import { CoreError } from './errors.ts';
import { shortPath } from './socket-path.ts';

/** Time for the children of one fork to come, in milliseconds, and what each child adds: they start a few at a time. */
const COME_MS = 120_000;
const COME_EACH_MS = 1000;
/** Connections that may wait to be accepted; each child makes up to five. The kernel lowers it to its own limit. */
const BACKLOG = 4096;
const HEAD_MAX = 64;
const KINDS: readonly LineKind[] = ['life', 'stdin', 'stdout', 'stderr', 'channel'];

export type { ForkedChild };

/** Living children and the errors of those that did not come to live. */
export interface Brood {
  readonly children: ForkedChild[];
  readonly errors: Error[];
}

/** What has a connection that a clone must not use. */
interface Abandonable {
  abandon(): void;
}

/** The connections of this process to its children and its parent. */
export class Family {
  readonly #members = new Set<Abandonable>();

  /** Waits for the children of one fork on a socket at `path`, from now on. */
  await(path: string, count: number, kind: Omit<BirthKind, 'needsChannel'>): Cradle {
    return new Cradle(path, count, { ...kind, needsChannel: true }, (child) => {
      this.#members.add(child);
      void child.wait().then(() => this.#members.delete(child));
    });
  }

  /** Connects to the parent; a channel that is closed already when it is not there any more. */
  async reach(path: string | null, index: number): Promise<SocketChannel> {
    const { Socket: NetSocket } = process.getBuiltinModule('node:net');
    const socket = new NetSocket();
    if (path === null) socket.destroy();
    else await connect(socket, path);
    if (!socket.destroyed) socket.write(`${index} channel\n`);
    const channel = new SocketChannel(socket);
    this.#members.add(channel);
    channel.on('close', () => this.#members.delete(channel));
    return channel;
  }

  /** In a clone: all connections belong to the original. */
  abandon(): void {
    for (const member of this.#members) member.abandon();
    this.#members.clear();
  }
}

async function connect(socket: Socket, path: string): Promise<void> {
  const short = shortPath(path);
  await new Promise<void>((resolve) => {
    socket.once('connect', resolve);
    socket.once('error', () => resolve());
    socket.connect(short.path);
  });
  short.release();
}

/** Returns a new name for the socket of one fork. */
export function socketName(): string {
  return `fork-${randomBytes(6).toString('hex')}.sock`;
}

/** Where the lines of one fork's children arrive. */
export class Cradle {
  readonly #births: readonly Birth[];
  readonly #first: number;
  readonly #server: Server;
  readonly #release: () => void;
  readonly #onBorn: (child: ForkedChild) => void;

  /** Listens at `path` when the constructor returns. `onBorn` is called for each living child. */
  constructor(
    path: string,
    count: number,
    kind: BirthKind,
    onBorn: (child: ForkedChild) => void = () => undefined,
  ) {
    const short = shortPath(path);
    this.#release = short.release;
    this.#onBorn = onBorn;
    this.#first = kind.first ?? 0;
    this.#births = Array.from({ length: count }, (_, at) => new Birth(this.#first + at, kind));
    const { createServer } = process.getBuiltinModule('node:net');
    this.#server = createServer((socket) => this.#identify(socket));
    this.#server.on('error', (cause) => {
      this.fail(new CoreError('ERR_FORKPOINT_FORK', `cannot listen for children at ${path}`, { cause }));
    });
    this.#server.listen({ path: short.path, backlog: BACKLOG });
  }

  /** Waits until every child lives or has failed. Aborting ends them all. */
  async settle(signal?: AbortSignal): Promise<Brood> {
    const limitMs = COME_MS + COME_EACH_MS * this.#births.length;
    const timer = setTimeout(() => {
      this.fail(new CoreError('ERR_FORKPOINT_TIMEOUT', `a child did not come within ${limitMs} ms`));
    }, limitMs);
    const onAbort = (): void => this.fail(reasonOf(signal));
    signal?.addEventListener('abort', onAbort, { once: true });
    const results = await Promise.allSettled(
      this.#births.map(async ({ born }) => {
        const child = await born;
        this.#onBorn(child);
        return child;
      }),
    );
    clearTimeout(timer);
    signal?.removeEventListener('abort', onAbort);
    this.#close();
    const children = results.flatMap((result) => (result.status === 'fulfilled' ? [result.value] : []));
    if (signal?.aborted === true) for (const child of children) child.kill('SIGKILL');
    signal?.throwIfAborted();
    const errors = results.flatMap((result) =>
      result.status === 'rejected' ? [result.reason as Error] : [],
    );
    return { children, errors };
  }

  /** Gives up all children that do not live yet, and those that come later. */
  fail(error: Error): void {
    for (const birth of this.#births) birth.fail(error);
  }

  /** Gives up everything; for a fork that failed before its children were on their way. */
  abort(error: Error): void {
    this.fail(error);
    for (const birth of this.#births) birth.end();
    this.#close();
  }

  /** Reads which line of which child this is. */
  #identify(socket: Socket): void {
    let head = Buffer.alloc(0);
    socket.on('error', () => undefined);
    const read = (): void => {
      for (let bytes: Buffer | null; (bytes = socket.read() as Buffer | null) !== null;) {
        head = Buffer.concat([head, bytes]);
        const end = head.indexOf(10);
        if (end < 0 && head.length < HEAD_MAX) continue;
        socket.off('readable', read);
        const [index, kind] = head.toString('latin1', 0, Math.max(end, 0)).split(' ');
        const birth = this.#births[Number(index) - this.#first];
        const known = KINDS.find((one) => one === kind);
        if (birth === undefined || known === undefined) {
          socket.destroy();
          return;
        }
        if (head.length > end + 1) socket.unshift(head.subarray(end + 1));
        birth.add(known, socket);
        return;
      }
    };
    socket.on('readable', read);
  }

  #close(): void {
    // Not waited for: that would take until the last connection has ended.
    this.#server.close();
    this.#release();
  }
}

function reasonOf(signal: AbortSignal | undefined): Error {
  const reason: unknown = signal?.reason;
  return reason instanceof Error ? reason : new CoreError('ERR_FORKPOINT_ABORTED', String(reason));
}
