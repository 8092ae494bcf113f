import type { DescriptorKind, FileDescription } from '@forkpoint/image';

/** A descriptor of a process. */
export interface DescriptorPlace {
  readonly pid: number;
  readonly fd: number;
}

interface SlotBase {
  /** Name of the slot, unique in its image. */
  readonly id: string;
  /** What `criu restore --inherit-fd fd[N]:KEY` wants: `fp-slot/` and the id. */
  readonly key: string;
  /** Flags of open(2) that the program had; CRIU does not set them on an inherited descriptor. */
  readonly flags: number;
  /** Whether an eventpoll instance watches one of the descriptors, so that no regular file may take the place. */
  readonly isPollable: boolean;
  /** The descriptors that show the slot. */
  readonly fds: readonly DescriptorPlace[];
  /** What the program had there. */
  readonly was: DescriptorKind;
}

/** Standard input, output or error of the program; `stdout` is both when the program's 1 and 2 are one. */
export interface StdioSlot extends SlotBase {
  readonly kind: 'stdin' | 'stdout' | 'stderr';
  /** Path of the file, FIFO or terminal that the program had there. */
  readonly wasPath?: string;
}

/** Options of a listening TCP socket. */
export type TcpOption = 'reuseaddr' | 'reuseport' | 'v6only' | 'nodelay';

/** A listening TCP socket. */
export interface TcpSlot extends SlotBase {
  readonly kind: 'tcp';
  readonly family: 4 | 6;
  readonly address: string;
  readonly port: number;
  readonly backlog: number;
  readonly options: readonly TcpOption[];
}

/** A listening unix socket. */
export interface UnixSlot extends SlotBase {
  readonly kind: 'unix';
  /** Absolute path, or `@name` for an abstract name. */
  readonly path: string;
  readonly socketType: 'stream' | 'seqpacket';
  readonly backlog: number;
  /** Permission bits of the socket file; 0 for an abstract name. */
  readonly mode: number;
}

/** A file that the restorer opens: one with a policy. */
export interface FileSlot extends SlotBase {
  readonly kind: 'file';
  readonly path: string;
  /** Offset in bytes. */
  readonly position: number;
}

/** A named place in an image that the restorer fills with a real descriptor. */
export type Slot = StdioSlot | TcpSlot | UnixSlot | FileSlot;

/** Something a person may want to know about the image. */
export interface Note {
  readonly code:
    | 'memfd-repaired'
    | 'memfd-lost'
    | 'policy-error'
    | 'shared-memory-repaired'
    | 'shared-memory-lost'
    | 'stdio-inside'
    | 'terminal-kept'
    | 'unix-listener-kept'
    | 'zombie-repaired';
  /** `repaired` comes back right; `kept` is restored by CRIU itself; `lost` comes back wrong. */
  readonly severity: 'repaired' | 'kept' | 'lost';
  readonly message: string;
  readonly pid?: number;
  readonly fd?: number;
}

/** What is to happen to a description. */
export interface Policy {
  readonly action: 'close' | 'reopen' | 'slot' | 'ignore' | 'error';
  /** Name of the slot. */
  readonly slot?: string;
  /** Why it is refused. */
  readonly reason?: string;
}

/** Decides about a description; `sort` is its kind with directories and devices apart from files. */
export type PolicyOf = (
  description: FileDescription & { readonly sort: string },
  fds: readonly DescriptorPlace[],
) => Policy | undefined;

/** What to do beside the changes that every image gets. */
export interface RewriteOptions {
  /** Path of the control directory inside the pod; data in flight in its FIFOs is dropped. */
  readonly ctlPath?: string;
  /** Decides about open file descriptions; standard streams are slots whatever it says. */
  readonly policyOf?: PolicyOf | undefined;
  /**
   * Gives every thread empty capability sets and a full bounding set. CRIU then neither raises nor drops a capability, so
   * the restore works where criu has fewer of them than at the dump (no CAP_SETPCAP in most containers), and the program
   * keeps the bounding set of whoever restores it. Without it the program gets back exactly the sets it had.
   */
  readonly clearCapabilities?: boolean;
  /**
   * Wait statuses of the zombies in the image this program was restored from, by pid. CRIU makes a zombie that a signal
   * killed undumpable (restore_one_zombie in criu/cr-restore.c), and the kernel hides the exit code of such a process,
   * so that the next rootless dump says 0.
   */
  readonly zombies?: ReadonlyMap<number, number>;
}

/** Settings of a terminal, the fields of termios(3) in numbers. */
export interface TerminalSettings {
  readonly iflag: number;
  readonly oflag: number;
  readonly cflag: number;
  readonly lflag: number;
  readonly line: number;
  readonly cc: readonly number[];
}

/** Result of `rewrite`. */
export interface RewriteResult {
  /** The files that changed, with their new bytes. */
  readonly files: ReadonlyMap<string, Uint8Array>;
  readonly slots: readonly Slot[];
  /** How the program had set the terminal that it had as a standard stream, for the one that takes its place. */
  readonly terminal: TerminalSettings | null;
  readonly notes: readonly Note[];
  /** Pages files that nothing in the image refers to any more; they may be deleted. */
  readonly unused: readonly string[];
  /** Whether the image holds System V message queues, semaphores or shared memory. */
  readonly hasIpcObjects: boolean;
  /** Names of datagram sockets outside the program that CRIU connects to again, which takes `--ext-unix-sk`. */
  readonly datagramPeers: readonly string[];
}
