import {
  type FileTable,
  type file_entry,
  inetAddress,
  type inet_sk_entry,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  TCP_LISTEN,
  unixName,
  type unix_sk_entry,
} from '@forkpoint/image';
import type { Draft } from './draft.ts';
import type { Decisions } from './policies.ts';
import { pollWatch, putSlot, slotKey } from './slot-file.ts';
import type { Slot, TcpOption } from './types.ts';

const PROTO_TCP = 6;
const FAMILY_INET6 = 10;
const PERMISSIONS = 0o7777;

/**
 * Turns listening TCP and unix sockets (stream and seqpacket) into slots, so that clones share one socket or get new ones
 * and the original keeps its own. UDP sockets stay as they are. So does a unix listener with a connection of the
 * program's own that nobody has accepted yet: CRIU has to connect to the very socket again (`peer` of the client is then
 * the listener's inode, dump_one_unix_fd in criu/sk-unix.c). Accepted connections refer to each other, not to it.
 */
export function slotListeners(draft: Draft, decisions: Decisions = new Map()): void {
  const isWatched = pollWatch(draft);
  const table = draft.table;
  for (const file of table.byId.values()) {
    const policy = decisions.get(file.id);
    if (policy?.action === 'ignore') continue;
    const slot = tcpSlot(file.isk) ?? unixSlot(draft, table, file);
    if (!slot) continue;
    const id = draft.uniqueId(policy?.slot ?? slot.id);
    const key = slotKey(id);
    const fds = draft.places(file.id);
    draft.slots.push({ ...slot, id, key, isPollable: isWatched(fds), fds });
    putSlot(draft, file.id, key, file);
  }
}

function tcpSlot(socket: inet_sk_entry | undefined): Slot | undefined {
  if (!socket || socket.state !== TCP_LISTEN || socket.proto !== PROTO_TCP || socket.type !== SOCK_STREAM) {
    return undefined;
  }
  const chosen: readonly (readonly [TcpOption, boolean])[] = [
    ['reuseaddr', socket.opts?.reuseaddr ?? false],
    ['reuseport', socket.opts?.soReuseport ?? false],
    ['v6only', socket.v6only],
    ['nodelay', socket.tcpOpts?.nodelay ?? false],
  ];
  return {
    id: `tcp-${socket.srcPort}`,
    key: '',
    kind: 'tcp',
    flags: socket.flags,
    isPollable: false,
    fds: [],
    was: 'tcp',
    family: socket.family === FAMILY_INET6 ? 6 : 4,
    address: inetAddress(socket.family, socket.srcAddr),
    port: socket.srcPort,
    backlog: socket.backlog,
    options: chosen.filter(([, isSet]) => isSet).map(([option]) => option),
  };
}

function unixSlot(draft: Draft, table: FileTable, file: file_entry): Slot | undefined {
  const socket = file.usk;
  if (!socket || socket.state !== TCP_LISTEN) return undefined;
  const path = listenerPath(socket);
  if (path === undefined || (socket.type !== SOCK_STREAM && socket.type !== SOCK_SEQPACKET)) return undefined;
  if (hasWaitingClient(table, socket)) {
    draft.notes.push({
      code: 'unix-listener-kept',
      severity: 'kept',
      message: `${path} stays the program's own socket: the program has a connection to it that is not accepted yet`,
    });
    return undefined;
  }
  return {
    id: `unix-${path.slice(path.lastIndexOf('/') + 1).replace(/[^\w.-]/g, '_')}`,
    key: '',
    kind: 'unix',
    flags: socket.flags,
    isPollable: false,
    fds: [],
    was: 'unix',
    path,
    socketType: socket.type === SOCK_STREAM ? 'stream' : 'seqpacket',
    backlog: socket.backlog,
    mode: (socket.filePerms?.mode ?? 0) & PERMISSIONS,
  };
}

function hasWaitingClient(table: FileTable, listener: unix_sk_entry): boolean {
  return [...table.byId.values()].some(({ usk }) => usk?.peer === listener.ino);
}

/** A name relative to the working directory of its bind(2) is stored with that directory beside it. */
function listenerPath(socket: unix_sk_entry): string | undefined {
  const name = unixName(socket.name);
  if (name === undefined || name.startsWith('/') || name.startsWith('@') || !socket.nameDir) return name;
  return `${socket.nameDir.replace(/\/$/, '')}/${name}`;
}
