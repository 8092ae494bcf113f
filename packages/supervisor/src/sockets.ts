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

/** Reads the sockets of the network namespace by inode. `peers` are the lines of `LauncherLink.peers`. */
export function readSockets(peers: readonly string[]): Map<number, SocketFacts> {
  const found = new Map<number, SocketFacts>();
  for (const kind of ['tcp', 'udp'] as const) {
    for (const table of [kind, `${kind}6`]) {
      for (const line of readLines(`/proc/self/net/${table}`, TABLE_MAX)) {
        const socket = inetSocket(kind, line);
        if (socket !== null) found.set(socket.inode, socket);
      }
    }
  }
  const unix = new Map<number, SocketFacts>();
  for (const line of readLines('/proc/self/net/unix', TABLE_MAX)) {
    const socket = unixSocket(line);
    if (socket !== null) unix.set(socket.inode, socket);
  }
  for (const line of peers) {
    const [inode = 0, , , peer = 0] = line.split(' ').map(Number);
    const socket = unix.get(inode);
    if (socket === undefined || peer === 0) continue;
    unix.set(inode, { ...socket, peerInode: peer, peer: unix.get(peer)?.address ?? null });
  }
  return new Map([...found, ...unix]);
}

// `sl local remote state tx:rx tr:when retrnsmt uid timeout inode ...`
function inetSocket(kind: 'tcp' | 'udp', line: string): SocketFacts | null {
  const [, local = '', remote = '', state, , , , , , inode] = line.trim().split(/\s+/);
  const number = Number(inode);
  if (!Number.isSafeInteger(number) || number <= 0) return null;
  return {
    kind,
    inode: number,
    address: inetText(local),
    peer: remote.endsWith(':0000') ? null : inetText(remote),
    isListening: kind === 'tcp' && state === TCP_LISTEN,
    isStream: kind === 'tcp',
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
