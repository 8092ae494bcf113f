import { EventEmitter } from 'node:events';
import type { Socket } from 'node:net';

import { CoreError, messageOf } from './errors.ts';
import type { Channel } from './types.ts';

/** Largest message in bytes: 1 GiB. */
const MESSAGE_MAX = 1 << 30;
/** Bytes of messages that wait for a listener; when there are more, the other side has to wait. */
const WAITING_MAX = 1 << 20;
const HEAD_BYTES = 4;

/** Puts frames together again: four bytes of length, then a value as v8.serialize writes it. */
class Frames {
  #head = Buffer.alloc(HEAD_BYTES);
  #body: Buffer | undefined;
  #filled = 0;

  /** Calls `found` for each body that these bytes complete; throws CoreError for a length that no sender writes. */
  push(bytes: Buffer, found: (body: Buffer) => void): void {
    for (let at = 0; at < bytes.length;) {
      const target = this.#body ?? this.#head;
      const count = bytes.copy(target, this.#filled, at);
      this.#filled += count;
      at += count;
      if (this.#filled < target.length) return;
      this.#filled = 0;
      if (this.#body === undefined) {
        const length = target.readUInt32LE();
        if (length === 0 || length > MESSAGE_MAX)
          throw new CoreError('ERR_FORKPOINT_CHANNEL', `a message of ${length} bytes was announced`);
        this.#body = Buffer.allocUnsafe(length);
      } else {
        this.#body = undefined;
        found(target);
      }
    }
  }
}

/**
 * Messages over a stream socket, in order. Like a MessagePort it keeps the process alive while somebody listens for
 * messages, and only then; what arrives before the first listener waits for it.
 */
export class SocketChannel implements Channel {
  readonly #socket: Socket;
  readonly #frames = new Frames();
  readonly #events = new EventEmitter();
  readonly #v8 = process.getBuiltinModule('node:v8');
  readonly #waiting: Buffer[] = [];
  #waitingBytes = 0;
  #isOpen = true;
  #isAbandoned = false;

  constructor(socket: Socket) {
    this.#socket = socket;
    socket.unref();
    socket.on('data', (bytes: Buffer) => this.#take(bytes));
    // What went wrong is told by the sends that fail; the end by `close`.
    socket.on('error', () => undefined);
    socket.on('close', () => this.#ended());
    if (socket.destroyed) this.#ended();
  }

  /** Whether messages can still be sent. */
  get isOpen(): boolean {
    return this.#isOpen;
  }

  async send(value: unknown, options: { transfer?: readonly ArrayBuffer[] } = {}): Promise<void> {
    if (!this.#isOpen) throw closed();
    const body = this.#v8.serialize(value);
    if (body.length > MESSAGE_MAX)
      throw new CoreError('ERR_FORKPOINT_CHANNEL', `a message of ${body.length} bytes is over the limit`);
    const transfer = [...(options.transfer ?? [])];
    // The bytes are in the message; this leaves the sender without them, as a transfer does.
    if (transfer.length > 0) structuredClone(null, { transfer });
    const head = Buffer.alloc(HEAD_BYTES);
    head.writeUInt32LE(body.length);
    await new Promise<void>((resolve, reject) => {
      this.#socket.cork();
      this.#socket.write(head);
      this.#socket.write(body, (error) => {
        // In a clone of the sender: the original carries it out.
        if (error === undefined || error === null || this.#isAbandoned) resolve();
        else reject(closed(error));
      });
      this.#socket.uncork();
    });
  }

  on(event: 'message' | 'close', listener: (value: unknown) => void): void {
    this.#events.on(event, listener);
    this.#listenersChanged();
  }

  once(event: 'message' | 'close', listener: (value: unknown) => void): void {
    this.#events.once(event, listener);
    this.#listenersChanged();
  }

  off(event: 'message' | 'close', listener: (value: unknown) => void): void {
    this.#events.off(event, listener);
    this.#listenersChanged();
  }

  close(): void {
    if (!this.#isOpen) return;
    this.#isOpen = false;
    this.#waiting.length = 0;
    this.#socket.resume();
    // What was sent before still goes out.
    this.#socket.end();
  }

  /** Lets go of the connection in a clone: it belongs to the original, with all that is on its way. */
  abandon(): void {
    this.#isAbandoned = true;
    this.#waiting.length = 0;
    this.#socket.destroy();
    this.#ended();
  }

  #take(bytes: Buffer): void {
    if (!this.#isOpen) return;
    try {
      this.#frames.push(bytes, (body) => {
        this.#waiting.push(body);
        this.#waitingBytes += body.length;
      });
    } catch (error) {
      this.#socket.destroy(error instanceof Error ? error : undefined);
      return;
    }
    this.#deliver();
  }

  #deliver(): void {
    while (this.#waiting.length > 0 && this.#events.listenerCount('message') > 0) {
      const body = this.#waiting.shift();
      if (body === undefined) break;
      this.#waitingBytes -= body.length;
      // Should a listener throw, the messages behind this one still come.
      if (this.#waiting.length > 0) setImmediate(() => this.#deliver());
      this.#events.emit('message', this.#v8.deserialize(body));
    }
    if (this.#waitingBytes > WAITING_MAX) this.#socket.pause();
    else if (this.#socket.isPaused()) this.#socket.resume();
    this.#hold();
  }

  #listenersChanged(): void {
    this.#hold();
    // Later, so that whoever adds several listeners has all of them told.
    if (this.#waiting.length > 0) setImmediate(() => this.#deliver());
  }

  #hold(): void {
    if (this.#isOpen && this.#events.listenerCount('message') > 0) this.#socket.ref();
    else this.#socket.unref();
  }

  #ended(): void {
    const wasOpen = this.#isOpen;
    this.#isOpen = false;
    if (wasOpen || this.#events.listenerCount('close') > 0) {
      this.#events.emit('close');
      this.#events.removeAllListeners('close');
    }
  }
}

function closed(cause?: unknown): CoreError {
  const why = cause === undefined ? '' : `: ${messageOf(cause)}`;
  return new CoreError('ERR_FORKPOINT_CHANNEL_CLOSED', `the channel is closed${why}`, { cause });
}
