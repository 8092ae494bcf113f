import { execFileSync } from 'node:child_process';
import { EventEmitter, once } from 'node:events';
import {
  constants,
  existsSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  promises,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';

/** One request line as the launcher reads it. */
export interface Request {
  op: string;
  pid: number;
  [field: string]: unknown;
}

const LIMIT_MS = 10_000;

/** A launcher without CRIU: a real control directory with real FIFOs, whose answers the test decides. */
export class FakeLauncher {
  readonly directory: string;
  readonly requests: Request[] = [];
  readonly #events = new EventEmitter();
  readonly #socket: Socket;
  #taken = 0;

  constructor(identity: object = {}) {
    this.directory = mkdtempSync(join(tmpdir(), 'forkpoint-ctl-'));
    mkdirSync(join(this.directory, 'members'));
    this.#makeFifo('request');
    this.identify({ id: 'run-1', name: 'r', image: null, parentId: null, generation: 0, ...identity });
    const fd = openSync(join(this.directory, 'request'), constants.O_RDWR | constants.O_NONBLOCK);
    this.#socket = new Socket({ fd, readable: true, writable: false });
    let rest = '';
    this.#socket.on('data', (chunk) => {
      const lines = (rest + chunk.toString()).split('\n');
      rest = lines.pop() ?? '';
      for (const line of lines) this.#receive(JSON.parse(line) as Request);
    });
  }

  /** Writes identity.json. */
  identify(identity: object): void {
    writeFileSync(
      join(this.directory, 'identity.json'),
      JSON.stringify({ v: 1, index: null, args: [], env: {}, elapsedMs: 0, ...identity }),
    );
  }

  /** Returns the next request other than `join`; fails when it is another one than expected. */
  async next(op: string): Promise<Request> {
    for (;;) {
      const request = this.requests.filter((each) => each.op !== 'join')[this.#taken];
      if (request !== undefined) {
        this.#taken++;
        if (request.op !== op) throw new Error(`expected ${op}, got ${JSON.stringify(request)}`);
        return request;
      }
      await this.#event();
    }
  }

  /** Returns the pid of a member once `count` processes have joined. */
  async joined(count = 1): Promise<number> {
    for (;;) {
      const joins = this.requests.filter((each) => each.op === 'join');
      const last = joins[count - 1];
      if (last !== undefined) return last.pid;
      await this.#event();
    }
  }

  /**
   * Writes one line to members/<pid>/outcome as soon as somebody reads there, and puts a fresh FIFO at the path before that, as the launcher
   * does: who waits for the next line would else meet the end of this one, which is closed later, and lose what is written then.
   */
  async answer(pid: number, ...lines: object[]): Promise<void> {
    const path = join(this.directory, 'members', String(pid), 'outcome');
    const file = await promises.open(path, 'w');
    this.#makeFifo(`members/${pid}/outcome.new`);
    renameSync(`${path}.new`, path);
    await file.write(lines.map((line) => `${JSON.stringify({ v: 1, ...line })}\n`).join(''));
    await file.close();
  }

  /** Asks members from outside. */
  ask(ask: string, pids: number[]): void {
    writeFileSync(join(this.directory, 'ask.json'), JSON.stringify({ v: 1, ask, pids }));
    for (const pid of pids) process.kill(pid, 'SIGURG');
  }

  info(pid: number): Record<string, unknown> {
    return JSON.parse(
      readFileSync(join(this.directory, 'members', String(pid), 'info.json'), 'utf8'),
    ) as Record<string, unknown>;
  }

  close(): void {
    this.#socket.destroy();
    rmSync(this.directory, { recursive: true, force: true });
  }

  #receive(request: Request): void {
    if (request.op === 'join') this.#makeMember(request.pid);
    this.requests.push(request);
    this.#events.emit('request');
  }

  #makeMember(pid: number): void {
    const member = join(this.directory, 'members', String(pid));
    mkdirSync(member, { recursive: true });
    try {
      this.#makeFifo(`members/${pid}/outcome`, `members/${pid}/park`);
    } catch (error) {
      // A program that ends at once removes the directory while it is being filled.
      if (existsSync(member)) throw error;
    }
  }

  #makeFifo(...names: string[]): void {
    const paths = names.map((name) => join(this.directory, name));
    execFileSync('mkfifo', ['-m', '600', ...paths], { stdio: 'pipe' });
  }

  async #event(): Promise<void> {
    const signal = AbortSignal.timeout(LIMIT_MS);
    await once(this.#events, 'request', { signal });
  }
}
