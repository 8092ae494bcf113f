/** What every slot has: the launcher turns each into `--inherit-fd fd[N]:KEY`. */
interface SlotBase {
  /** Name of the slot, unique in its image, as typed in `--listen`. */
  readonly id: string;
  /** The key that CRIU's `--inherit-fd` expects. */
  readonly key: string;
  /** Flags of open(2). */
  readonly flags: number;
  /** Whether the program waits for the descriptor with epoll, which takes no regular file. */
  readonly isPollable: boolean;
}

/** One of the three standard streams. */
export interface StdioSlot extends SlotBase {
  readonly kind: 'stdin' | 'stdout' | 'stderr';
}

/** Options of a listening TCP socket that are set again before it is bound. */
export type TcpOption = 'reuseaddr' | 'reuseport' | 'v6only' | 'nodelay';

/** All options that a TCP slot may carry. */
export const TCP_OPTIONS: readonly TcpOption[] = ['reuseaddr', 'reuseport', 'v6only', 'nodelay'];

/** A listening TCP socket. */
export interface TcpSlot extends SlotBase {
  readonly kind: 'tcp';
  readonly family: 4 | 6;
  readonly address: string;
  readonly port: number;
  readonly backlog: number;
  readonly options: readonly TcpOption[];
}

/** A listening unix socket with a path. */
export interface UnixSlot extends SlotBase {
  readonly kind: 'unix';
  /** What accept(2) gives: connections of bytes, or of packets. */
  readonly socketType: 'stream' | 'seqpacket';
  readonly path: string;
  readonly backlog: number;
  /** Permission bits of the socket file. */
  readonly mode: number;
}

/** A file that the launcher opens: one with a policy. */
export interface FileSlot extends SlotBase {
  readonly kind: 'file';
  /** Opened unless `--fd` names another one. */
  readonly path: string;
  /** Offset in bytes, of no meaning with O_APPEND. */
  readonly position: number;
}

/** A named place in an image that the restorer fills with a real descriptor. */
export type Slot = StdioSlot | TcpSlot | UnixSlot | FileSlot;
