import { readLines } from './proc.ts';

/** A socket as /proc/net and the kernel's socket diagnosis show it. */
export interface SocketFacts {
  readonly kind: 'tcp' | 'udp' | 'unix';
  readonly inode: number;
  /** `HOST:PORT`, a unix socket's path, `@name` for an abstract one; null when it has none. */
  readonly address: string | null;
  /** Where it is connected to, in the same form. */
  readonly peer: string | null;
  readonly isListening: boolean;
  /** Unix sockets: whether it is a stream or seqpacket socket. */
  readonly isStream: boolean;
  /** Unix sockets: inode of the other end; null when there is none, or one that nobody has accepted yet. */
  readonly peerInode: number | null;
}

/** Largest number of sockets that is read from one table. */
const TABLE_MAX = 200_000;
/** States as /proc/net/tcp and /proc/net/unix write them (net/ipv4/tcp_ipv4.c, net/unix/af_unix.c). */
const TCP_LISTEN = '0A';
const UNIX_ACCEPTS = 0x10000;
const SOCK_DGRAM = 2;

/** Which sockets are read. */
export interface Wanted {
  /** Inodes of the program's sockets. */
  readonly inodes: ReadonlySet<number>;
  /** The lines of `LauncherLink.peers`: which unix sockets are connected to which. */
  readonly peers?: readonly string[];
  /** Only unix sockets are asked for. */
  readonly onlyUnix?: boolean;
}

/** The quick ones first: a host that has served much has thousands of connections that only wait to be forgotten in the last. */
const INET_TABLES = ['udp', 'udp6', 'tcp6', 'tcp'] as const;

/**
 * Reads sockets of the network namespace by inode: all unix sockets, and of the others those that are wanted. A table of TCP
 * costs 8 ms when it is empty (net/ipv4/tcp_ipv4.c goes over all buckets), so that none is read before it is needed.
 */
export function readSockets({ inodes, peers = [], onlyUnix = false }: Wanted): Map<number, SocketFacts> {
  const found = new Map<number, SocketFacts>();
  for (const line of readLines('/proc/self/net/unix', TABLE_MAX)) {
    const socket = unixSocket(line);
    if (socket !== null) found.set(socket.inode, socket);
  }
  for (const line of peers) {
    const [inode = 0, , , peer = 0] = line.split(' ').map(Number);
    const socket = found.get(inode);
    if (socket === undefined || peer === 0) continue;
    found.set(inode, { ...socket, peerInode: peer, peer: found.get(peer)?.address ?? null });
  }
  for (const table of onlyUnix ? [] : INET_TABLES) {
    if ([...inodes].every((inode) => found.has(inode))) break;
    for (const line of readLines(`/proc/self/net/${table}`, TABLE_MAX)) {
      const socket = inetSocket(table, line, inodes);
      if (socket !== null) found.set(socket.inode, socket);
    }
  }
  return found;
}

// `sl local remote state tx:rx tr:when retrnsmt uid timeout inode ...`
function inetSocket(
  table: (typeof INET_TABLES)[number],
  line: string,
  wanted: ReadonlySet<number>,
): SocketFacts | null {
  const match = /^ *\d+: (\S+) (\S+) (\S+) \S+ \S+ \S+ +\d+ +\d+ (\d+)/.exec(line);
  const [, local = '', remote = '', state, inode] = match ?? [];
  const number = Number(inode);
  // 0: a connection that no process has any more.
  if (match === null || number === 0 || !wanted.has(number)) return null;
  const isTcp = table.startsWith('tcp');
  return {
    kind: isTcp ? 'tcp' : 'udp',
    inode: number,
    address: inetText(local),
    peer: remote.endsWith(':0000') ? null : inetText(remote),
    isListening: isTcp && state === TCP_LISTEN,
    isStream: isTcp,
    peerInode: null,
  };
}

// The address is printed as 32-bit words of the machine, which is little-endian; the port as a number.
function inetText(text: string): string | null {
  const match = /^([0-9A-F]{8}|[0-9A-F]{32}):([0-9A-F]{4})$/.exec(text);
  if (match === null) return null;
  const [, words = '', port = ''] = match;
  const bytes: number[] = [];
  for (const word of words.match(/.{8}/g) ?? []) {
    for (let at = 6; at >= 0; at -= 2) bytes.push(Number.parseInt(word.slice(at, at + 2), 16));
  }
  return `${hostText(bytes)}:${Number.parseInt(port, 16)}`;
}

function hostText(bytes: readonly number[]): string {
  if (bytes.length === 4) return bytes.join('.');
  if (bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 255) return bytes.slice(12).join('.');
  const groups: string[] = [];
  for (let at = 0; at < bytes.length; at += 2)
    groups.push((((bytes[at] ?? 0) << 8) | (bytes[at + 1] ?? 0)).toString(16));
  const host = groups.join(':').replace(/(^|:)(0(:|$)){2,}/, '::');
  return `[${host}]`;
}

// `Num: RefCount Protocol Flags Type St Inode Path`
function unixSocket(line: string): SocketFacts | null {
  const match = /^[0-9a-f]+: \S+ \S+ ([0-9A-F]+) ([0-9A-F]+) \S+ +(\d+)(?: (.*))?$/.exec(line);
  if (match === null) return null;
  const [, flags = '0', type = '0', inode = '0', path] = match;
  return {
    kind: 'unix',
    inode: Number(inode),
    address: path ?? null,
    peer: null,
    isListening: (Number.parseInt(flags, 16) & UNIX_ACCEPTS) !== 0,
    isStream: Number.parseInt(type, 16) !== SOCK_DGRAM,
    peerInode: null,
  };
}
