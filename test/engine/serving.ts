import { Agent, get } from 'node:http';
import { createServer } from 'node:net';
import type { ServeStatus } from '@forkpoint/supervisor';
import { nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person, Running } from '@forkpoint/testkit';

const LIMIT_MS = 120_000;

const living = new Set<Load>();

/** Requests that go on and on, half of them on connections that are kept. */
export class Load {
  answers: string[] = [];
  readonly errors: string[] = [];
  #isOn = true;
  readonly #agent = new Agent({ keepAlive: true, maxSockets: 2 });
  readonly #loops: Promise<void>[];

  /** Ends those that a test which failed has left: they would keep its process alive. */
  static async endAll(): Promise<void> {
    await Promise.all([...living].map(async (load) => await load.end()));
  }

  constructor(port: number) {
    living.add(this);
    this.#loops = Array.from({ length: 4 }, async (_, index) => {
      while (this.#isOn) await this.#request(port, index < 2 ? this.#agent : false);
    });
  }

  async end(): Promise<void> {
    this.#isOn = false;
    living.delete(this);
    await Promise.all(this.#loops);
    this.#agent.destroy();
  }

  #request(port: number, agent: Agent | false): Promise<void> {
    return new Promise((resolve) => {
      const done = (error: Error): void => {
        this.errors.push(error.message);
        resolve();
      };
      const request = get({ host: '127.0.0.1', port, agent }, (response) => {
        let text = '';
        response.on('data', (chunk: Buffer) => {
          text += chunk.toString();
        });
        response.on('error', done);
        response.on('end', () => {
          this.answers.push(text);
          resolve();
        });
      });
      request.on('error', done);
    });
  }
}

/** Returns a port that nobody listens at, below those that the kernel gives to others by itself. */
export async function freePort(): Promise<number> {
  for (let time = 0; time < 100; time++) {
    const port = 20_000 + Math.floor(Math.random() * 12_000);
    const server = createServer();
    const isFree = new Promise<boolean>((resolve) => {
      server.once('error', () => resolve(false)).listen(port, '127.0.0.1', () => resolve(true));
    });
    if (!(await isFree)) continue;
    await new Promise((resolve) => server.close(resolve));
    return port;
  }
  throw new Error('no port is free');
}

/** Starts `forkpoint serve` with a program that listens at PORT: of the testkit, or a path with a slash. */
export function serve(
  person: Person,
  port: number,
  options: readonly string[],
  program = 'serving.cjs',
): Running {
  return person.forkpoint(
    ['serve', ...options, '--', nodeBinary(24), program.includes('/') ? program : programPath(program)],
    {
      env: { PORT: String(port) },
      timeoutMs: LIMIT_MS,
    },
  );
}

/** Returns what `forkpoint serve status --json` tells of the only server. */
export async function statusOf(person: Person): Promise<ServeStatus> {
  const { code, stdout, stderr } = await person.finish(['serve', 'status', '--json']);
  if (code !== 0) throw new Error(stderr);
  return JSON.parse(stdout) as ServeStatus;
}
