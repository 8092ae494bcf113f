import { SOCK_SEQPACKET, SOCK_STREAM, TCP_ESTABLISHED, unixName, type unix_sk_entry } from '@forkpoint/image';
import type { Draft } from './draft.ts';
import { dropReceived } from './in-flight.ts';

/** Flag of a unix socket outside the dumped tree (USK_EXTERN in criu/sk-unix.c). */
const UNIX_EXTERNAL = 1;
/** Both directions are shut down (SK_SHUTDOWN__BOTH of sk-opts.proto). */
const SHUTDOWN_BOTH = 3;

/**
 * Closes the unix sockets whose other ends lie outside the program: CRIU restores a stream that has no peer and is shut
 * down in both directions as one end of a fresh pair whose other end is gone (add_fake_unix_queuers in criu/sk-unix.c),
 * with its flags and what it had received. The program reads that and then the end of the file, and a write fails with
 * EPIPE. A datagram socket keeps its peer where that has a name, and is not connected any more where it has none.
 *
 * Returns the names of the datagram sockets outside that are connected to again.
 */
export function closeOutside(draft: Draft): string[] {
  const files = draft.image.find('files', 'files.img');
  if (!files) return [];
  const sockets = new Map<number, unix_sk_entry>();
  for (const { message } of files.entries) if (message.usk) sockets.set(message.usk.ino, message.usk);
  const peers = new Set<string>();
  const hasOutside = ({ peer }: unix_sk_entry): boolean =>
    peer !== 0 && (!sockets.has(peer) || ((sockets.get(peer)?.uflags ?? 0) & UNIX_EXTERNAL) !== 0);
  dropReceived(draft, new Set([...sockets.values()].filter(hasOutside).map(({ id }) => id)));
  for (const socket of sockets.values()) {
    const other = sockets.get(socket.peer);
    if (forgetName(socket)) draft.touch(files);
    if (!hasOutside(socket)) continue;
    const isStream = socket.type === SOCK_STREAM || socket.type === SOCK_SEQPACKET;
    const name = other === undefined ? undefined : unixName(other.name);
    if (!isStream && name !== undefined) {
      peers.add(name);
      continue;
    }
    socket.peer = 0;
    if (isStream) {
      closeStream(socket);
      forgetName(socket);
    }
    draft.touch(files);
  }
  // What stood for the other ends outside; CRIU would look for their descriptors.
  const wanted = new Set([...sockets.values()].map(({ peer }) => peer));
  const kept = files.entries.filter(
    ({ message }) =>
      !message.usk || (message.usk.uflags & UNIX_EXTERNAL) === 0 || wanted.has(message.usk.ino),
  );
  if (kept.length < files.entries.length) {
    files.entries = kept;
    draft.touch(files);
  }
  return [...peers];
}

/**
 * A connection that was accepted has the name of the socket that accepted it. When the other end is gone, CRIU would bind it to that name:
 * it deletes the path of the original that still listens there, and where the name is deleted it waits for ever. Nobody needs
 * the name any more.
 */
function forgetName(socket: unix_sk_entry): boolean {
  const isStream = socket.type === SOCK_STREAM || socket.type === SOCK_SEQPACKET;
  const isConnection = isStream && socket.state === TCP_ESTABLISHED;
  if (!isConnection || socket.peer !== 0 || socket.name.length === 0) return false;
  socket.name = new Uint8Array(0);
  socket.nameDir = '';
  socket.deleted = false;
  return true;
}

/** Makes a stream socket one whose other end has closed the connection. */
export function closeStream(socket: unix_sk_entry): void {
  socket.peer = 0;
  socket.state = TCP_ESTABLISHED;
  socket.shutdown = SHUTDOWN_BOTH;
  // An accepted connection has its listener's name; CRIU would bind it there, and waits for ever when that is deleted.
  socket.name = new Uint8Array(0);
  socket.nameDir = '';
  socket.deleted = false;
}
