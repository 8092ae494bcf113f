/** What a dump is to do. All paths are those of the pod. */
export interface DumpOptions {
  /** Pid of the program's first process in the pod. */
  readonly root: number;
  /** An existing directory that receives the image files. */
  readonly imageDir: string;
  /** Log file, an absolute path or a name within the image directory. */
  readonly logName: string;
  /** Whether the program runs on afterwards or stays stopped, until it is continued or ended. */
  readonly leave: 'running' | 'stopped';
  /** Copy file locks, true when absent. Without it a program that holds one is refused. */
  readonly fileLocks?: boolean;
  /** Directories that hold files which the program watches with inotify. */
  readonly inotifyPaths?: readonly string[];
  /** Inodes of unix sockets, the program's ends, whose other ends lie outside. */
  readonly externalUnix?: readonly number[];
  /** Datagram sockets connected to a process outside, as to the system's log, are kept. */
  readonly externalDatagrams?: boolean;
  /** Bytes of a deleted but open file that are put into the image; 1 GiB when absent. */
  readonly ghostLimitBytes?: number;
  /** 1 errors, 2 warnings (default), 3 steps, 4 everything, which costs about 3 ms a call. */
  readonly verbosity?: 1 | 2 | 3 | 4;
  /** Further arguments, put last. */
  readonly extra?: readonly string[];
}

const GHOST_LIMIT_BYTES = 1 << 30;

/**
 * Returns the arguments that follow `criu dump`. Connections are closed in clones and unfinished ones left out: the first
 * option alone fails on a busy server. A configuration file of the user's is not read.
 */
export function dumpArguments(options: DumpOptions): string[] {
  return [
    '--no-default-config',
    '--unprivileged',
    '--tree',
    String(options.root),
    '--images-dir',
    options.imageDir,
    '--log-file',
    options.logName,
    `-v${options.verbosity ?? 2}`,
    options.leave === 'running' ? '--leave-running' : '--leave-stopped',
    '--tcp-close',
    '--skip-in-flight',
    // Copies a terminal whose other end the launcher holds; without it CRIU refuses (tty_verify_active_pairs in criu/tty.c).
    '--shell-job',
    '--ghost-limit',
    String(options.ghostLimitBytes ?? GHOST_LIMIT_BYTES),
    ...(options.fileLocks === false ? [] : ['--file-locks']),
    ...(options.externalDatagrams === true ? ['--ext-unix-sk'] : []),
    ...(options.externalUnix ?? []).flatMap((inode) => ['--external', `unix[${inode}]`]),
    ...((options.inotifyPaths ?? []).length === 0 ? [] : ['--force-irmap']),
    ...(options.inotifyPaths ?? []).flatMap((path) => ['--irmap-scan-path', path]),
    ...(options.extra ?? []),
  ];
}
