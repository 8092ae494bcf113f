import { readText } from './proc.ts';
import type { DescriptorFacts } from './proc.ts';
import type { SocketFacts } from './sockets.ts';

/** What a descriptor refers to, in the words of a policy. */
export type ViewKind =
  | 'file'
  | 'directory'
  | 'device'
  | 'pipe'
  | 'fifo'
  | 'tty'
  | 'tcp'
  | 'udp'
  | 'unix'
  | 'eventfd'
  | 'eventpoll'
  | 'timerfd'
  | 'signalfd'
  | 'inotify'
  | 'memfd'
  | 'other';

/** An open descriptor of a living process, described for people and for policies. */
export interface DescriptorView {
  readonly pid: number;
  readonly fd: number;
  readonly kind: ViewKind;
  /** What readlink(2) of /proc/PID/fd/N says. */
  readonly target: string;
  /** Path of a file, directory, device, terminal or unix socket; null when it has none. */
  readonly path: string | null;
  readonly isDeleted: boolean;
  readonly socket: SocketFacts | null;
}

const ANONYMOUS: Readonly<Record<string, ViewKind>> = {
  eventfd: 'eventfd',
  eventpoll: 'eventpoll',
  timerfd: 'timerfd',
  signalfd: 'signalfd',
  inotify: 'inotify',
};
const O_DIRECTORY = 0o200000;

/** Describes a descriptor. `sockets` are those of the network namespace by inode. */
export function viewOf(
  descriptor: DescriptorFacts,
  sockets: ReadonlyMap<number, SocketFacts>,
): DescriptorView {
  const { pid, fd, target } = descriptor;
  const base = { pid, fd, target, path: null, isDeleted: false, socket: null };
  const inode = inodeOf(target);
  if (inode !== null) {
    const socket = sockets.get(inode) ?? null;
    // A TCP socket that is neither bound nor connected is in no table.
    return {
      ...base,
      kind: socket?.kind ?? 'other',
      path: socket?.kind === 'unix' ? socket.address : null,
      socket,
    };
  }
  const anonymous = /^anon_inode:\[?([a-z_-]+)\]?$/.exec(target)?.[1];
  if (anonymous !== undefined) return { ...base, kind: ANONYMOUS[anonymous] ?? 'other' };
  if (target.startsWith('pipe:[')) return { ...base, kind: 'pipe' };
  if (!target.startsWith('/')) return { ...base, kind: 'other' };
  const isDeleted = target.endsWith(' (deleted)');
  const path = isDeleted ? target.slice(0, -10) : target;
  return { ...base, path, isDeleted, kind: kindOfPath(descriptor, path) };
}

/** Returns the inode of a socket from what readlink(2) says of its descriptor; null for anything else. */
export function inodeOf(target: string): number | null {
  const inode = /^socket:\[(\d+)\]$/.exec(target)?.[1];
  return inode === undefined ? null : Number(inode);
}

function kindOfPath({ pid, fd }: DescriptorFacts, path: string): ViewKind {
  if (path.startsWith('/memfd:')) return 'memfd';
  if (/^\/dev\/(pts\/|tty|console|ptmx)/.test(path)) return 'tty';
  if (path.startsWith('/dev/') && !path.startsWith('/dev/shm/')) return 'device';
  const flags = /^flags:\s*([0-7]+)$/m.exec(readText(`/proc/${pid}/fdinfo/${fd}`) ?? '')?.[1] ?? '0';
  return (Number.parseInt(flags, 8) & O_DIRECTORY) === 0 ? 'file' : 'directory';
}

/** Says in a few words what a descriptor is: its kind, and its path or addresses. */
export function describeView({ kind, path, socket, target }: DescriptorView): string {
  if (socket !== null && socket.kind !== 'unix') {
    const to = socket.peer === null ? '' : ` to ${socket.peer}`;
    return socket.isListening
      ? `a ${kind} socket listening at ${socket.address ?? '?'}`
      : `a ${kind} socket at ${socket.address ?? '?'}${to}`;
  }
  if (socket !== null) {
    const name = socket.address ?? 'without a name';
    return socket.isListening
      ? `a unix socket listening at ${name}`
      : `a unix socket ${socket.peer === null ? name : `connected to ${socket.peer}`}`;
  }
  return path === null ? `a ${kind === 'other' ? target : kind}` : `the ${kind} ${path}`;
}
