// Clients that ask a server on connections of their own again and again, and note who answered and what failed.
import { Agent, request as ask } from 'node:http';
import { Agent as TlsAgent, request as askByTls } from 'node:https';
import { setTimeout as pause } from 'node:timers/promises';

/** Where a server listens. */
export type Place =
  | { readonly kind: 'tcp' | 'tls'; readonly port: number }
  | { readonly kind: 'unix'; readonly path: string };

/** A request without an answer: who had the connection, as far as it had answered on it before. */
export interface Failure {
  readonly kind: Place['kind'];
  readonly run: string | null;
  readonly code: string;
  readonly at: number;
}

const LIMIT_MS = 30_000;
/** Requests after which a client connects anew, so that children that came later get some as well. */
const CONVERSATION = 10;
const PAUSE_MS = 10;
/** Failures after which a client gives up. */
const ENOUGH = 100;

/** Sends one request and returns the id of the run that answered; rejects with what the system says. */
async function askOnce(
  place: Place,
  agent: Agent | TlsAgent | undefined,
  onSocket: (socket: object) => void = () => undefined,
): Promise<string> {
  return await new Promise((resolve, reject) => {
    const where =
      place.kind === 'unix' ? { socketPath: place.path } : { host: '127.0.0.1', port: place.port };
    const common = { ...where, path: '/', agent: agent ?? false, timeout: LIMIT_MS };
    // The certificate is the program's own.
    const request = place.kind === 'tls' ? askByTls({ ...common, rejectUnauthorized: false }) : ask(common);
    request.once('socket', onSocket);
    request.once('timeout', () => request.destroy(new Error('no answer in time')));
    request.once('error', reject);
    request.once('response', (response) => {
      response.once('error', reject);
      response.once('end', () => resolve(String(response.headers['x-run'])));
      response.resume();
    });
    request.end();
  });
}

/** Asks on a connection that is closed behind the answer. */
export async function whoServes(place: Place): Promise<string> {
  return await askOnce(place, undefined);
}

/** Clients at places, from the start until `stop`. */
export class Conversations {
  readonly failures: Failure[] = [];
  /** Answers by kind of place and run. */
  readonly answers = new Map<string, number>();
  #isOver = false;
  readonly #clients: Promise<void>[];

  constructor(places: readonly Place[], each: number) {
    this.#clients = places.flatMap((place) => Array.from({ length: each }, () => this.#converse(place)));
  }

  /** Lets each client end what it has begun. */
  async stop(): Promise<void> {
    this.#isOver = true;
    await Promise.all(this.#clients);
  }

  async #converse(place: Place): Promise<void> {
    const create = (): Agent | TlsAgent =>
      place.kind === 'tls'
        ? new TlsAgent({ keepAlive: true, maxSockets: 1 })
        : new Agent({ keepAlive: true, maxSockets: 1 });
    let agent = create();
    const servers = new WeakMap<object, string>();
    for (let asked = 1; !this.#isOver && this.failures.length < ENOUGH; asked++) {
      if (asked % CONVERSATION === 0) {
        agent.destroy();
        agent = create();
      }
      let socket: object = {};
      try {
        const run = await askOnce(place, agent, (given) => (socket = given));
        servers.set(socket, run);
        const key = `${place.kind} ${run}`;
        this.answers.set(key, (this.answers.get(key) ?? 0) + 1);
      } catch (error) {
        const code = error instanceof Error && 'code' in error ? String(error.code) : String(error);
        this.failures.push({ kind: place.kind, run: servers.get(socket) ?? null, code, at: Date.now() });
      }
      await pause(Math.random() * PAUSE_MS);
    }
    agent.destroy();
  }
}
