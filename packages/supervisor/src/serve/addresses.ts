import { chmodSync, lstatSync, readFileSync, readlinkSync, rmSync } from 'node:fs';
import net from 'node:net';
import { setTimeout as pause } from 'node:timers/promises';
import { getSystemErrorName } from 'node:util';
import { SupervisorError } from '../error.ts';
import { isAnswered } from './lines.ts';

/** A bound socket that nobody accepts on here: workers do. */
interface Handle {
  readonly fd: number;
  getsockname?(out: object): number;
  close(): void;
}

/** Where a program wants to listen: at a port, on all addresses without a host, or at the path of a unix socket. */
export type Address =
  | { readonly port: number; readonly host: string | null }
  | { readonly path: string; readonly mode?: number };

/** A socket that is held. */
export interface Held {
  readonly fd: number;
  /** As people write it: `127.0.0.1:3000`, `*:3000`, `/run/app.sock`. */
  readonly shown: string;
  /** As the manifest of an image has it whose worker listens here: `ADDRESS:PORT`, or a path. */
  readonly actual: string;
  readonly handle: Handle;
}

type CreateHandle = (address: string | null, port: number, type: number, fd?: number) => Handle | number;

// What node:cluster uses for the same purpose; public functions can only listen, and then accept as well.
const createHandle = Reflect.get(net, '_createServerHandle') as CreateHandle;

/** How often an address that is about to become free is tried. */
const RETRY_MS = 20;

/** The addresses of a server, held for its whole life, so that no connection is lost while workers come and go. */
export class Addresses {
  readonly #held = new Map<string, Held>();
  /** Ports that the kernel chose for servers that asked for port 0, in their order. */
  readonly zeros: number[] = [];

  readonly #inherited: Held[] = [];
  #busyUntil = 0;

  /** Addresses may be in use for so many milliseconds yet: by workers of a server that was killed, which end. */
  expectBusy(ms: number): void {
    this.#busyUntil = performance.now() + ms;
  }

  /** Takes the listening sockets that the service manager has opened, from descriptor 3. */
  inherit(count: number): void {
    for (let fd = 3; fd < 3 + count; fd++) {
      const handle = createHandle(null, 0, 0, fd);
      if (typeof handle === 'number') throw cannotListen(`descriptor ${fd}`, handle, 'systemctl cat');
      const name: { address?: string; port?: number } = {};
      const isTcp = handle.getsockname?.(name) === 0 && name.port !== undefined;
      const actual = isTcp ? `${name.address ?? ''}:${name.port}` : pathOf(fd);
      this.#inherited.push({ fd, shown: actual, actual, handle });
    }
  }

  /** The inherited socket for an address: the one with the same port or path, else the next that nobody has taken. */
  #takeInherited(wanted: Address): Held | undefined {
    const name = 'path' in wanted ? wanted.path : `:${wanted.port}`;
    const same = this.#inherited.findIndex(({ actual }) => actual.endsWith(name));
    return this.#inherited.splice(Math.max(same, 0), 1)[0];
  }

  /** Returns the socket at an address; binds it the first time. Throws ERR_FORKPOINT_LISTEN. */
  async hold(wanted: Address): Promise<Held> {
    const key = 'path' in wanted ? wanted.path : `${wanted.host ?? '*'}:${wanted.port}`;
    const known = this.#held.get(key);
    // Programs that remove a stale socket before they listen take ours away: then there has to be another one.
    if (known !== undefined && (!('path' in wanted) || isSocket(wanted.path))) return known;
    const inherited = known === undefined ? this.#takeInherited(wanted) : undefined;
    const held = inherited ?? (await this.#bind(wanted));
    this.#held.set(key, held);
    return held;
  }

  async #bind(wanted: Address): Promise<Held> {
    for (;;) {
      try {
        return 'path' in wanted ? await bindPath(wanted.path, wanted.mode) : bindPort(wanted);
      } catch (error) {
        const isBusy = error instanceof SupervisorError && error.message.endsWith('EADDRINUSE');
        if (!isBusy || performance.now() >= this.#busyUntil) throw error;
        await pause(RETRY_MS);
      }
    }
  }

  /** Returns the addresses as people write them. */
  list(): string[] {
    return [...this.#held.values()].map(({ shown }) => shown);
  }

  close(): void {
    for (const { handle } of this.#held.values()) handle.close();
    this.#held.clear();
  }
}

function bindPort({ host, port }: { readonly host: string | null; readonly port: number }): Held {
  const tries: readonly (readonly [string, 4 | 6])[] =
    host === null
      ? [
          ['::', 6],
          ['0.0.0.0', 4],
        ]
      : [[host === 'localhost' ? '127.0.0.1' : host, host.includes(':') ? 6 : 4]];
  let problem = 0;
  for (const [address, type] of tries) {
    const handle = createHandle(address, port, type);
    if (typeof handle === 'number') {
      problem = handle;
      continue;
    }
    // Only asking for its name tells that an address is in use (uv_tcp_bind keeps that error).
    const name: { address?: string; port?: number } = {};
    problem = handle.getsockname?.(name) ?? 0;
    if (problem === 0) {
      const shown = `${host ?? '*'}:${port}`;
      return { fd: handle.fd, shown, actual: `${name.address ?? address}:${name.port ?? port}`, handle };
    }
    handle.close();
  }
  throw cannotListen(`${host ?? '*'}:${port}`, problem, `ss -ltnp 'sport = :${port}'`);
}

async function bindPath(path: string, mode: number | undefined): Promise<Held> {
  // A link to where the program listened while it started; and what nobody answers at was left behind.
  if (isLink(path) || (isSocket(path) && !(await isAnswered(path)))) rmSync(path, { force: true });
  const handle = createHandle(path, -1, -1);
  if (typeof handle === 'number') throw cannotListen(path, handle, `ss -lxp | grep ${path}`);
  if (mode !== undefined) chmodSync(path, mode);
  return { fd: handle.fd, shown: path, actual: path, handle };
}

/** The path of a unix socket of ours, which no function of Node.js tells. */
function pathOf(fd: number): string {
  const inode = /\[(\d+)\]/.exec(readlinkSync(`/proc/self/fd/${fd}`))?.[1] ?? '';
  const line = readFileSync('/proc/net/unix', 'utf8')
    .split('\n')
    .find((one) => one.trim().split(/ +/)[6] === inode);
  return line?.trim().split(/ +/).slice(7).join(' ') ?? `descriptor ${fd}`;
}

function isSocket(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSocket() === true;
}

function isLink(path: string): boolean {
  return lstatSync(path, { throwIfNoEntry: false })?.isSymbolicLink() === true;
}

function cannotListen(shown: string, problem: number, command: string): SupervisorError {
  return new SupervisorError(
    'ERR_FORKPOINT_LISTEN',
    `cannot listen at ${shown}: ${getSystemErrorName(problem)}`,
    { hint: `see who listens there: ${command}` },
  );
}
