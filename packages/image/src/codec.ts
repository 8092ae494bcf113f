import type { Message } from '@bufbuild/protobuf';
import { ImageError } from './error.ts';
import type { pagemap_entry, pagemap_head } from './gen/pagemap_pb.ts';
import { KINDS, kindOf, magicsOf, type MessageKind, type MessageOf } from './kinds.ts';
import { payloadLength } from './payload.ts';
import { decodeMessage, encodeMessage, MissingField } from './message.ts';
import { schema } from './schema.ts';
import type { Schema } from './schema.ts';

const pagemapHead = schema<pagemap_head>('pagemap_head');
const pagemapEntry = schema<pagemap_entry>('pagemap_entry');

/** Upper bounds on what the decoder accepts; beyond one of them it throws `ERR_FORKPOINT_IMAGE_LIMIT`. */
export interface Limits {
  /** Bytes of one file. */
  readonly fileBytes: number;
  /** Bytes of one message. */
  readonly entryBytes: number;
  /** Messages of one file. */
  readonly entries: number;
  /** Pages of one pagemap, present or not. */
  readonly pages: number;
}

/** Generous for real programs: pages for 16 TiB, ghost files of 1 GiB. */
export const DEFAULT_LIMITS: Limits = {
  fileBytes: 2 ** 30,
  entryBytes: 64 * 2 ** 20,
  entries: 4 * 2 ** 20,
  pages: 2 ** 32,
};

/** One message of a file with the raw bytes that follow it. */
export interface Entry<Message> {
  message: Message;
  /** Data in flight, a file's content, padding included; empty for kinds without it. */
  payload: Uint8Array;
}

/** A file of messages of one type. */
export interface MessageFile<Kind extends MessageKind> {
  readonly kind: Kind;
  readonly name: string;
  entries: Entry<MessageOf<Kind>>[];
}

/** A pagemap: which pages of a process (or of shared memory) lie in which pages file. */
export interface PagemapFile {
  readonly kind: 'pagemap';
  readonly name: string;
  head: pagemap_head;
  entries: pagemap_entry[];
}

/** A file that this package does not take apart: pages, archives, logs, kinds of a later CRIU. */
export interface RawFile {
  readonly kind: 'raw';
  readonly name: string;
  bytes: Uint8Array;
}

/** An image file as a value; `kind` tells which. */
export type ImageFile = { [Kind in MessageKind]: MessageFile<Kind> }[MessageKind] | PagemapFile | RawFile;

const NOTHING = new Uint8Array(0);

/**
 * Returns the value of an image file; its kind follows from its name. Payloads and raw files are views of `bytes`.
 * Unknown fields are kept in the messages. Throws ImageError for bytes that are no such file or exceed the limits.
 */
export function decodeImage(name: string, bytes: Uint8Array, limits: Partial<Limits> = {}): ImageFile {
  const bounds = { ...DEFAULT_LIMITS, ...limits };
  const kind = kindOf(name);
  if (kind === 'raw') return { kind, name, bytes };
  if (bytes.length > bounds.fileBytes) {
    const what = `the file has ${bytes.length} bytes, more than the limit of ${bounds.fileBytes}`;
    throw new ImageError('ERR_FORKPOINT_IMAGE_LIMIT', name, what);
  }
  const reader = new FrameReader(name, bytes, bounds);
  reader.magics(magicsOf(kind));
  if (kind === 'pagemap') return decodePagemap(reader);
  return decodeMessages(kind, reader);
}

/** Returns the head of a pagemap file and where its entries begin. Throws ImageError. */
export function decodePagemapHead(
  name: string,
  bytes: Uint8Array,
  bounds: Limits,
): { head: pagemap_head; offset: number } {
  const reader = new FrameReader(name, bytes, bounds);
  reader.magics(magicsOf('pagemap'));
  return { head: reader.message(pagemapHead()), offset: reader.offset };
}

/** Returns the bytes of an image file. Throws ImageError for a message without one of its required fields. */
export function encodeImage(file: ImageFile): Uint8Array {
  if (file.kind === 'raw') return file.bytes;
  const writer = new FrameWriter(file.name);
  for (const magic of magicsOf(file.kind)) writer.word(magic);
  if (file.kind === 'pagemap') {
    writer.message(pagemapHead(), file.head);
    for (const entry of file.entries) writer.message(pagemapEntry(), entry);
  } else {
    const described: Schema = KINDS[file.kind].schema();
    for (const { message, payload } of file.entries) {
      writer.message(described, message);
      writer.bytes(payload);
    }
  }
  return writer.finish();
}

function decodePagemap(reader: FrameReader): PagemapFile {
  const head = reader.message(pagemapHead());
  const entries: pagemap_entry[] = [];
  while (!reader.isDone) entries.push(reader.message(pagemapEntry()));
  return { kind: 'pagemap', name: reader.name, head, entries };
}

function decodeMessages(kind: MessageKind, reader: FrameReader): ImageFile {
  const definition = KINDS[kind];
  const described: Schema = definition.schema();
  const entries: Entry<Message>[] = [];
  while (!reader.isDone) {
    const message = reader.message(described);
    let payload: Uint8Array = NOTHING;
    if (definition.payload === 'rest') payload = reader.take(reader.remaining);
    if (definition.payload === 'counted') {
      payload = reader.take(payloadLength(kind, message, reader.rest, reader.name, reader.offset));
    }
    entries.push({ message, payload });
  }
  // `schema` belongs to `kind`, which the compiler cannot follow through the union.
  return { kind, name: reader.name, entries } as unknown as ImageFile;
}

/** Walks over the frames of one file: magic numbers, then messages with a length before each. */
class FrameReader {
  readonly name: string;
  offset = 0;
  readonly #bytes: Uint8Array;
  readonly #view: DataView;
  readonly #limits: Limits;
  #count = 0;

  constructor(name: string, bytes: Uint8Array, limits: Limits) {
    this.name = name;
    this.#bytes = bytes;
    this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    this.#limits = limits;
  }

  get remaining(): number {
    return this.#bytes.length - this.offset;
  }

  get isDone(): boolean {
    return this.remaining === 0;
  }

  get rest(): Uint8Array {
    return this.#bytes.subarray(this.offset);
  }

  magics(expected: readonly number[]): void {
    for (const magic of expected) {
      const at = this.offset;
      const found = this.#word();
      if (found === magic) continue;
      const what = `the magic number is 0x${found.toString(16)}, not 0x${magic.toString(16)}: no file of this kind`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_MALFORMED', this.name, what, { offset: at });
    }
  }

  message<Type extends Message>(described: Schema<Type>): Type {
    const offset = this.offset;
    if (++this.#count > this.#limits.entries) {
      const what = `more than ${this.#limits.entries} entries`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_LIMIT', this.name, what, { offset });
    }
    const length = this.#word();
    if (length > this.#limits.entryBytes) {
      const what = `an entry of ${length} bytes, more than the limit of ${this.#limits.entryBytes}`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_LIMIT', this.name, what, { offset });
    }
    const bytes = this.take(length);
    try {
      return decodeMessage(described, bytes);
    } catch (cause) {
      const what =
        cause instanceof MissingField
          ? `a ${described.typeName} message without its required field ${cause.field}`
          : `no ${described.typeName} message`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_MALFORMED', this.name, what, { offset, cause });
    }
  }

  take(length: number): Uint8Array {
    if (length > this.remaining) {
      const what = `the file ends ${length - this.remaining} bytes too early`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_TRUNCATED', this.name, what, { offset: this.offset });
    }
    const bytes = this.#bytes.subarray(this.offset, this.offset + length);
    this.offset += length;
    return bytes;
  }

  #word(): number {
    const at = this.offset;
    this.take(4);
    return this.#view.getUint32(at, true);
  }
}

/** Collects the frames of one file. */
class FrameWriter {
  readonly #name: string;
  readonly #parts: Uint8Array[] = [];

  constructor(name: string) {
    this.#name = name;
  }

  word(value: number): void {
    const bytes = new Uint8Array(4);
    new DataView(bytes.buffer).setUint32(0, value, true);
    this.#parts.push(bytes);
  }

  bytes(bytes: Uint8Array): void {
    this.#parts.push(bytes);
  }

  message<Type extends Message>(described: Schema<Type>, message: Type): void {
    let bytes: Uint8Array;
    try {
      bytes = encodeMessage(described, message);
    } catch (cause) {
      const what = `cannot encode a ${described.typeName} message`;
      throw new ImageError('ERR_FORKPOINT_IMAGE_INVALID', this.#name, what, { cause });
    }
    this.word(bytes.length);
    this.#parts.push(bytes);
  }

  finish(): Uint8Array {
    const total = this.#parts.reduce((sum, part) => sum + part.length, 0);
    const whole = new Uint8Array(total);
    let offset = 0;
    for (const part of this.#parts) {
      whole.set(part, offset);
      offset += part.length;
    }
    return whole;
  }
}
