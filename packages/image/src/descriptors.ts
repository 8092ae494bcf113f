import type { ImageDirectory } from './directory.ts';
import type { fdinfo_entry, file_entry } from './gen/fdinfo_pb.ts';
import type { inet_sk_entry } from './gen/sk-inet_pb.ts';
import type { unix_sk_entry } from './gen/sk-unix_pb.ts';
import type { tty_info_entry } from './gen/tty_pb.ts';
import { bytesToText } from './text.ts';
import { FILE_TYPES, type FileType } from './vma.ts';

/** Socket types and states as the kernel numbers them. */
export const SOCK_DGRAM = 2;
export const SOCK_STREAM = 1;
export const SOCK_SEQPACKET = 5;
export const TCP_ESTABLISHED = 1;
export const TCP_LISTEN = 10;
const PROTO_TCP = 6;
const PROTO_UDP = 17;
const FAMILY_INET6 = 10;
const PIPE_TYPES: ReadonlySet<number> = new Set([FILE_TYPES.pipe, FILE_TYPES.fifo]);

/** What a descriptor refers to: a file type, with internet sockets by protocol. */
export type DescriptorKind = Exclude<FileType, 'inet'> | 'tcp' | 'udp' | 'inet' | 'unknown';

/** State of a socket. */
export type SocketState = 'listen' | 'established' | 'unconnected' | 'closing';

/** One descriptor of a process and what it refers to. */
export interface DescriptorSummary {
  readonly fd: number;
  readonly isCloseOnExec: boolean;
  /** Id of the open file description; descriptors with the same id share it. */
  readonly file: number;
  readonly kind: DescriptorKind;
  /** Flags of open(2). */
  readonly flags?: number;
  /** Offset in bytes. */
  readonly position?: number;
  /** Path of a file or FIFO, name of a memfd, `@name` of an abstract unix socket. */
  readonly path?: string;
  /** Local address of an internet socket. */
  readonly address?: string;
  readonly port?: number;
  /** Remote address and port of a connected internet socket. */
  readonly peer?: string;
  readonly state?: SocketState;
  /** Both ends of a pipe have the same number. */
  readonly pipe?: number;
  /** Numbers of the descriptors an eventpoll instance watches. */
  readonly watches?: readonly number[];
}

/** What an open file description is. */
export type FileDescription = Omit<DescriptorSummary, 'fd' | 'isCloseOnExec' | 'file'>;

/** The open file descriptions of an image by id. */
export class FileTable {
  readonly byId: ReadonlyMap<number, file_entry>;
  readonly #terminals: ReadonlyMap<number, tty_info_entry>;
  readonly #memfdNames: ReadonlyMap<number, string>;

  constructor(image: ImageDirectory) {
    this.byId = new Map(image.entries('files', 'files.img').map(({ message }) => [message.id, message]));
    this.#terminals = new Map(
      image.entries('tty-info', 'tty-info.img').map(({ message }) => [message.id, message]),
    );
    this.#memfdNames = new Map(
      image.entries('memfd', 'memfd.img').map(({ message }) => [Number(message.inodeId), message.name]),
    );
  }

  /** Returns the path of a file, `memfd:` and the name of a memfd, undefined for anything without a name. */
  pathOf(id: number): string | undefined {
    const file = this.byId.get(id);
    if (file?.reg) return file.reg.name;
    if (file?.memfd) return `memfd:${this.#memfdNames.get(file.memfd.inodeId) ?? ''}`;
    if (file?.fifo) return file.fifo.regfId === 0 ? undefined : this.byId.get(file.fifo.regfId)?.reg?.name;
    if (file?.tty) return this.#terminalName(file.tty.ttyInfoId, file.tty.regfId);
    return undefined;
  }

  /** Returns what a descriptor of a process refers to. */
  describe(entry: fdinfo_entry): DescriptorSummary {
    const file = this.byId.get(entry.id);
    const detail = file ? this.describeFile(file) : { kind: 'unknown' as const };
    return { fd: entry.fd, isCloseOnExec: (entry.flags & 1) !== 0, file: entry.id, ...detail };
  }

  /** Returns what an open file description is. */
  describeFile(file: file_entry): FileDescription {
    const path = this.pathOf(file.id);
    const named = path === undefined ? {} : { path };
    if (file.reg) return { kind: 'file', flags: file.reg.flags, position: Number(file.reg.pos), ...named };
    if (file.memfd)
      return { kind: 'memfd', flags: file.memfd.flags, position: Number(file.memfd.pos), ...named };
    if (file.isk) return inetDetail(file.isk);
    if (file.usk) return unixDetail(file.usk);
    if (file.pipe) return { kind: 'pipe', flags: file.pipe.flags, pipe: file.pipe.pipeId };
    if (file.fifo) {
      const flags = this.byId.get(file.fifo.regfId)?.reg?.flags ?? 0;
      return { kind: 'fifo', pipe: file.fifo.pipeId, flags, ...named };
    }
    if (file.tty) return { kind: 'tty', flags: file.tty.flags, ...named };
    if (file.epfd) {
      return { kind: 'eventpoll', flags: file.epfd.flags, watches: file.epfd.tfd.map(({ tfd }) => tfd) };
    }
    const flags = (file.efd ?? file.tfd ?? file.sgfd ?? file.ify ?? file.nlsk ?? file.pidfd)?.flags;
    return { kind: typeName(file.type), ...(flags !== undefined && { flags }) };
  }

  #terminalName(info: number, file: number): string {
    const terminal = this.#terminals.get(info);
    return this.byId.get(file)?.reg?.name ?? (terminal?.pty ? `/dev/pts/${terminal.pty.index}` : 'tty');
  }
}

/** Returns the number by which both ends of a pipe or FIFO are known, undefined for other files. */
export function pipeOf(file: file_entry): number | undefined {
  return PIPE_TYPES.has(file.type) ? (file.pipe ?? file.fifo)?.pipeId : undefined;
}

/** Returns the text of an internet address as CRIU stores it: one or four words in network order. */
export function inetAddress(family: number, words: readonly number[]): string {
  const bytes = new Uint8Array(words.length * 4);
  const view = new DataView(bytes.buffer);
  // The words were copied from memory on x86-64, so the first byte of the address is the lowest of the word.
  for (const [index, word] of words.entries()) view.setUint32(index * 4, word, true);
  if (family !== FAMILY_INET6) return [...bytes.subarray(0, 4)].join('.');
  const groups: string[] = [];
  for (let offset = 0; offset + 1 < bytes.length; offset += 2)
    groups.push(view.getUint16(offset).toString(16));
  return compress(groups);
}

/** Returns the text of a unix socket's name: a path, `@name` for an abstract one, undefined without a name. */
export function unixName(name: Uint8Array): string | undefined {
  if (name.length === 0) return undefined;
  if (name[0] === 0) return `@${bytesToText(name.subarray(1))}`;
  const end = name.indexOf(0);
  return bytesToText(end < 0 ? name : name.subarray(0, end));
}

function inetDetail(socket: inet_sk_entry): FileDescription {
  const kind = socket.proto === PROTO_TCP ? 'tcp' : socket.proto === PROTO_UDP ? 'udp' : 'inet';
  const state = socketState(socket.state);
  const peer = `${inetAddress(socket.family, socket.dstAddr)}:${socket.dstPort}`;
  return {
    kind,
    flags: socket.flags,
    address: inetAddress(socket.family, socket.srcAddr),
    port: socket.srcPort,
    state,
    ...(socket.dstPort !== 0 && { peer }),
  };
}

function unixDetail(socket: unix_sk_entry): FileDescription {
  const path = unixName(socket.name);
  return {
    kind: 'unix',
    flags: socket.flags,
    state: socketState(socket.state),
    ...(path !== undefined && { path }),
  };
}

function socketState(state: number): SocketState {
  if (state === TCP_LISTEN) return 'listen';
  if (state === TCP_ESTABLISHED) return 'established';
  // TCP_CLOSE is the state of every socket that was never connected, datagrams included.
  return state === 7 ? 'unconnected' : 'closing';
}

function typeName(type: number): DescriptorKind {
  for (const [name, number] of Object.entries(FILE_TYPES)) {
    if (number === type) return name as FileType; // a key of FILE_TYPES
  }
  return 'unknown';
}

/** Shortens the longest run of zero groups to `::` (RFC 5952). */
function compress(groups: readonly string[]): string {
  let best = { start: 0, length: 0 };
  for (let start = 0; start < groups.length; start++) {
    let length = 0;
    while (groups[start + length] === '0') length++;
    if (length > best.length) best = { start, length };
  }
  if (best.length < 2) return groups.join(':');
  return `${groups.slice(0, best.start).join(':')}::${groups.slice(best.start + best.length).join(':')}`;
}
