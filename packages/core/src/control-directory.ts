import * as fs from 'node:fs';

import { codeOf, CoreError } from './errors.ts';
import type { Answer, Ask } from './wire.ts';
import { encodeRequest, MAX_LINE_BYTES, parseAnswer, parseAsk, parseIdentity } from './wire.ts';
import type { HookContext } from './types.ts';

const WRITE_LIMIT_MS = 5_000;
const FIFO_LIMIT_MS = 5_000;
const SLEEP_MS = 2;
const LONGEST_POLL_MS = 20;
const MAX_EMPTY_OPENS = 100;

// Taken before the program can replace it with a fake clock.
const { setTimeout: startTimer } = globalThis;

/**
 * The control directory ($FORKPOINT_DIR) as one member uses it. docs/protocol.md says what the files mean. Its path is
 * the same in every pod, so an object of this class stays good in a restored process.
 */
export class ControlDirectory {
  readonly path: string;
  readonly #member: string;
  #listener: Listener | undefined;

  /** `path` is $FORKPOINT_DIR; `pid` the member's process id inside the pod. */
  constructor(path: string, pid: number) {
    this.path = path;
    this.#member = `${path}/members/${pid}`;
  }

  /** Path of the FIFO at which worker threads wait. */
  get parkPath(): string {
    return `${this.#member}/park`;
  }

  /** Returns who this run is; throws CoreError when identity.json cannot be read. */
  readIdentity(): HookContext {
    return parseIdentity(fs.readFileSync(`${this.path}/identity.json`, 'utf8'));
  }

  /** Returns the checkpoint asked for from outside, or undefined when there is none. */
  readAsk(): Ask | undefined {
    try {
      return parseAsk(fs.readFileSync(`${this.path}/ask.json`, 'utf8'));
    } catch (error) {
      if (codeOf(error, '') === 'ENOENT') return undefined;
      throw error;
    }
  }

  /** Writes members/<pid>/info.json; it appears whole or not at all. */
  writeInfo(info: Readonly<Record<string, unknown>>): void {
    fs.mkdirSync(this.#member, { recursive: true, mode: 0o700 });
    fs.writeFileSync(`${this.#member}/info.json.new`, `${JSON.stringify(info)}\n`, { mode: 0o600 });
    fs.renameSync(`${this.#member}/info.json.new`, `${this.#member}/info.json`);
  }

  /** Removes members/<pid>, so that a later process with the same pid is not taken for a member. */
  leave(): void {
    fs.rmSync(this.#member, { recursive: true, force: true });
  }

  /**
   * Writes one request line. Synchronous; throws CoreError ERR_FORKPOINT_NO_RUNTIME when nobody reads requests.
   */
  send(request: Readonly<Record<string, unknown>>): void {
    const line = encodeRequest(request);
    const deadline = Date.now() + WRITE_LIMIT_MS;
    // Without O_NONBLOCK the open would wait for ever when the launcher is gone; it reads for as long as it lives.
    const fd = this.#openRequest();
    try {
      for (;;) {
        try {
          // A write of up to PIPE_BUF bytes is all or nothing, EAGAIN meaning nothing (pipe(7)).
          fs.writeSync(fd, line);
          return;
        } catch (error) {
          if (codeOf(error, '') !== 'EAGAIN' || Date.now() > deadline) throw error;
          sleep(SLEEP_MS);
        }
      }
    } finally {
      fs.closeSync(fd);
    }
  }

  /**
   * Blocks the thread until a line arrives on members/<pid>/outcome and returns it. While it blocks the process holds
   * no descriptor of the FIFO: a dump finds it in open(2), which a restore repeats on the FIFO of the new pod.
   * With `pending` in the answer the FIFO is kept open for `nextAnswer`.
   */
  blockForAnswer(): Answer {
    const path = this.#outcomePath();
    this.stopListening();
    waitForFile(path);
    // Ends of file without a line are opens of a writer that died; the next one may say something.
    for (let opens = 0; opens < MAX_EMPTY_OPENS; opens++) {
      const fd = fs.openSync(path, fs.constants.O_RDONLY);
      const listener = new Listener(fd);
      try {
        const line = listener.readBlocking();
        if (line === undefined) continue;
        const answer = parseAnswer(line);
        // The second descriptor is opened before the first is closed: a FIFO that nobody has open forgets its data.
        if (answer.isPending) this.#listener = openListener(path, listener.rest);
        return answer;
      } finally {
        fs.closeSync(fd);
      }
    }
    throw new CoreError('ERR_FORKPOINT_PROTOCOL', `no line came on ${path} in ${MAX_EMPTY_OPENS} tries`);
  }

  /**
   * Blocks the thread of a parked clone until it is handed over, and returns the line. Whoever parks it may open and close
   * members/<pid>/assign to see whether it stands there.
   */
  blockForAssignment(): string {
    const path = `${this.#member}/assign`;
    waitForFile(path);
    for (;;) {
      const fd = fs.openSync(path, fs.constants.O_RDONLY);
      try {
        const line = new Listener(fd).readBlocking();
        if (line !== undefined) return line;
      } finally {
        fs.closeSync(fd);
      }
    }
  }

  /** Returns what replaces who this run is, for threads that read it when they go on. The file is read now. */
  identityWriter(): (identity: HookContext) => void {
    const path = `${this.path}/identity.json`;
    const fields: unknown = JSON.parse(fs.readFileSync(path, 'utf8'));
    return ({ args, env }) => {
      const text = `${JSON.stringify(Object.assign({}, fields, { args, env }))}\n`;
      fs.writeFileSync(`${this.#member}/identity.new`, text, { mode: 0o600 });
      fs.renameSync(`${this.#member}/identity.new`, path);
    };
  }

  /** Waits a few seconds at most until the launcher has made members/<pid>/outcome; throws CoreError. */
  async waitUntilJoined(): Promise<void> {
    const path = this.#outcomePath();
    const deadline = Date.now() + FIFO_LIMIT_MS;
    while (!fs.existsSync(path)) {
      if (Date.now() > deadline) throw noFifo(path);
      await pause(SLEEP_MS, true);
    }
  }

  /** Opens members/<pid>/outcome, so that the launcher can write its next line at once. */
  listen(): void {
    this.stopListening();
    this.#listener = openListener(this.#outcomePath(), '');
  }

  /** Closes the FIFO that `listen` or a pending answer left open. */
  stopListening(): void {
    this.#listener?.close();
    this.#listener = undefined;
  }

  /**
   * Waits up to `limitMs` for the next line. Returns undefined when the FIFO was closed meanwhile by somebody else's
   * checkpoint; throws CoreError ERR_FORKPOINT_TIMEOUT. The wait keeps the process alive unless `isBackground`.
   */
  async nextAnswer(limitMs: number, isBackground = false): Promise<Answer | undefined> {
    const deadline = Date.now() + limitMs;
    const listener = this.#listener;
    let delay = SLEEP_MS;
    // Polled, because epoll would need node:net, whose loading costs more than these reads.
    for (;;) {
      if (listener === undefined || this.#listener !== listener) return undefined;
      const line = listener.readAvailable();
      if (line !== undefined) return parseAnswer(line);
      if (Date.now() > deadline) {
        throw new CoreError('ERR_FORKPOINT_TIMEOUT', `no answer from the launcher within ${limitMs} ms`);
      }
      await pause(delay, !isBackground);
      delay = Math.min(delay * 2, LONGEST_POLL_MS);
    }
  }

  #openRequest(): number {
    try {
      return fs.openSync(`${this.path}/request`, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
    } catch (cause) {
      const message = `nobody reads requests in ${this.path}: the launcher of this program is gone`;
      throw new CoreError('ERR_FORKPOINT_NO_RUNTIME', message, { cause });
    }
  }

  #outcomePath(): string {
    return `${this.#member}/outcome`;
  }
}

/** Reads lines from one descriptor of a FIFO. */
class Listener {
  readonly fd: number;
  rest: string;
  readonly #chunk = Buffer.alloc(4096);
  #bytes: Buffer = Buffer.alloc(0);

  constructor(fd: number, rest = '') {
    this.fd = fd;
    this.rest = rest;
    this.#bytes = Buffer.from(rest);
  }

  /** Returns one line, or undefined at the end of the file. Blocks. */
  readBlocking(): string | undefined {
    for (;;) {
      const line = this.#takeLine();
      if (line !== undefined) return line;
      if (!this.#fill()) return undefined;
    }
  }

  /** Returns one line, or undefined when there is none yet; for a descriptor opened with O_NONBLOCK. */
  readAvailable(): string | undefined {
    try {
      return this.readBlocking();
    } catch (error) {
      if (codeOf(error, '') === 'EAGAIN') return undefined;
      throw error;
    }
  }

  close(): void {
    fs.closeSync(this.fd);
  }

  #fill(): boolean {
    const count = fs.readSync(this.fd, this.#chunk, 0, this.#chunk.length, null);
    this.#bytes = Buffer.concat([this.#bytes, this.#chunk.subarray(0, count)]);
    if (this.#bytes.length > MAX_LINE_BYTES) {
      throw new CoreError('ERR_FORKPOINT_PROTOCOL', `a line of more than ${MAX_LINE_BYTES} bytes`);
    }
    return count > 0;
  }

  #takeLine(): string | undefined {
    const end = this.#bytes.indexOf(10);
    if (end < 0) return undefined;
    const line = this.#bytes.toString('utf8', 0, end);
    this.#bytes = this.#bytes.subarray(end + 1);
    this.rest = this.#bytes.toString('utf8');
    return line;
  }
}

// O_RDWR on a FIFO never blocks and never reads an end of file (fifo(7)), so writers may come and go.
function openListener(path: string, rest: string): Listener {
  return new Listener(fs.openSync(path, fs.constants.O_RDWR | fs.constants.O_NONBLOCK), rest);
}

function waitForFile(path: string): void {
  const deadline = Date.now() + FIFO_LIMIT_MS;
  while (!fs.existsSync(path)) {
    if (Date.now() > deadline) throw noFifo(path);
    sleep(SLEEP_MS);
  }
}

function noFifo(path: string): CoreError {
  return new CoreError('ERR_FORKPOINT_NO_RUNTIME', `the launcher did not make ${path}`);
}

function pause(ms: number, keepsAlive: boolean): Promise<void> {
  return new Promise((resolve) => {
    const timer = startTimer(resolve, ms);
    if (!keepsAlive) timer.unref();
  });
}

function sleep(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}
