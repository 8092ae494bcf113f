import net from 'node:net';
import { getSystemErrorName } from 'node:util';
import { SupervisorError } from '../error.ts';

/** A bound socket that nobody accepts on here: workers do. */
interface Handle {
  readonly fd: number;
  getsockname(out: object): number;
  close(): void;
}

/** Where a program wants to listen. */
export interface Address {
  readonly port: number;
  readonly host: string | null;
}

// What node:cluster uses for the same purpose; public functions can only listen, and then accept as well.
const createHandle = Reflect.get(net, '_createServerHandle') as (
  host: string,
  port: number,
  type: 4 | 6,
) => Handle | number;

/** The addresses of a server, held for its whole life, so that no connection is lost while workers come and go. */
export class Addresses {
  readonly #held = new Map<string, Handle>();

  /** Returns the descriptor of the socket at an address; binds it the first time. Throws ERR_FORKPOINT_LISTEN. */
  hold({ host, port }: Address): number {
    const key = `${host ?? ''}:${port}`;
    const known = this.#held.get(key);
    if (known !== undefined) return known.fd;
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
      // Only asking for its name tells that an address is in use (uv_tcp_bind keeps that error).
      problem = typeof handle === 'number' ? handle : handle.getsockname({});
      if (typeof handle === 'number') continue;
      if (problem === 0) {
        this.#held.set(key, handle);
        return handle.fd;
      }
      handle.close();
    }
    const shown = `${host ?? '*'}:${port}`;
    throw new SupervisorError(
      'ERR_FORKPOINT_LISTEN',
      `cannot listen at ${shown}: ${getSystemErrorName(problem)}`,
      {
        hint: `see who listens there: ss -ltnp 'sport = :${port}'`,
      },
    );
  }

  /** Returns the addresses as people write them: `127.0.0.1:3000`, `*:3000`. */
  list(): string[] {
    return [...this.#held.keys()].map((key) =>
      key.startsWith(':') && !key.startsWith('::') ? `*${key}` : key,
    );
  }

  close(): void {
    for (const handle of this.#held.values()) handle.close();
    this.#held.clear();
  }
}
