import type { Socket } from 'node:net';

/** Longest message in bytes: 1 GiB. */
const MESSAGE_MAX = 1 << 30;
const HEAD_BYTES = 4;

/**
 * Messages between Vitest and a mold or its clones: four bytes of length, little-endian, and a value as `v8.serialize` writes
 * it, which is what Vitest's own pool of processes does. All that is used is taken when the line is made: a test may replace
 * any global later.
 */
export class Line {
  readonly #socket: Socket;
  readonly #onMessage: (value: unknown) => void;
  readonly #v8 = process.getBuiltinModule('node:v8');
  readonly #allocate = Buffer.allocUnsafe.bind(Buffer);
  #head = Buffer.alloc(HEAD_BYTES);
  #body: Buffer | undefined;
  #filled = 0;

  /** `onEnd` is called once, when nothing more comes. */
  constructor(socket: Socket, onMessage: (value: unknown) => void, onEnd: () => void) {
    this.#socket = socket;
    this.#onMessage = onMessage;
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    // The end is told by `close`.
    socket.on('error', () => undefined);
    socket.on('close', onEnd);
  }

  /** Sends a value; throws for what cannot be copied. What is sent after the end is dropped. */
  send(value: unknown): void {
    const body = this.#v8.serialize(value);
    if (body.length > MESSAGE_MAX)
      throw new RangeError(`a message of ${body.length} bytes is over the limit`);
    if (this.#socket.destroyed || this.#socket.writableEnded) return;
    const head = this.#allocate(HEAD_BYTES);
    head.writeUInt32LE(body.length);
    this.#socket.cork();
    this.#socket.write(head);
    this.#socket.write(body);
    this.#socket.uncork();
  }

  /** What was sent before still goes out. */
  end(): void {
    this.#socket.end();
  }

  /** Closes at once. */
  destroy(): void {
    this.#socket.destroy();
  }

  #take(bytes: Buffer): void {
    for (let at = 0; at < bytes.length;) {
      const target = this.#body ?? this.#head;
      const count = bytes.copy(target, this.#filled, at);
      this.#filled += count;
      at += count;
      if (this.#filled < target.length) return;
      this.#filled = 0;
      if (this.#body !== undefined) {
        this.#body = undefined;
        this.#onMessage(this.#v8.deserialize(target));
        continue;
      }
      const length = target.readUInt32LE();
      if (length === 0 || length > MESSAGE_MAX) {
        this.#socket.destroy();
        return;
      }
      this.#body = this.#allocate(length);
    }
  }
}
