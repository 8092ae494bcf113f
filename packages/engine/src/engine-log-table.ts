import type { LogCause } from './engine-log.ts';

/** Errors that CRIU prints in every unprivileged call, and that mean nothing. */
export const HARMLESS_MESSAGES: readonly RegExp[] = [
  /rlimit: Can't setup RLIMIT_NOFILE for self/,
  /net: Unexpected error: -1\(Operation not permitted\)/,
  /net\.c:\d+: Unexpected error: -1/,
  /\$XDG_RUNTIME_DIR not set/,
  /Can't turn TCP repair mode ON/,
  /Could not (?:create|load) .*kerndat/,
  /Can't (?:load|keep|write) .*kdat/,
  /Couldn't save .*criu\.kdat/,
  /CRIU was built without libnftables support/,
  /Can't create nftables table/,
];

const restart = 'restart the program under `forkpoint run`';

/**
 * What CRIU 4.2 writes, and what it means to somebody who does not know CRIU. The texts are those of criu/*.c and
 * compel/src/lib. Causes with the code `engine` say little and count last.
 */
export const LOG_CAUSES: readonly LogCause[] = [
  // What a program has open, at a checkpoint.
  {
    pattern: /Unknown shit \d+ \(anon_inode:\[io_uring\]\)|anon_inode:\[io_uring\]|send_fds failed/,
    code: 'io-uring',
    reason: 'the program has an io_uring open, which no CRIU can copy',
    hint: 'start it with `forkpoint run` without --no-preload: the preload refuses io_uring',
  },
  {
    pattern: /Connected TCP socket, consider using|In-flight connection \(l\)/,
    code: 'tcp-connection',
    reason: 'a TCP connection is open that cannot be copied',
  },
  {
    pattern:
      /Failed to lock TCP connection|TCP repair mode|Iptables configuration failed|Locking network failed/,
    code: 'tcp-connection',
    reason: 'a TCP connection is in a state that cannot be copied without rights over the network',
    hint: 'close the connection in a beforeCheckpoint hook',
  },
  {
    pattern: /Can't dump half of stream unix connection\. name: (.*); peer name: (.*)$/,
    code: 'unix-socket',
    reason: 'a unix socket is connected to a process outside the program (own name $1, other name $2)',
    hint: 'close it in a beforeCheckpoint hook and open it again in afterRestore',
  },
  {
    pattern: /External socket is used|Can't dump name-less external socket|Dangling connection/,
    code: 'unix-socket',
    reason: 'a unix socket is connected to a process outside the program',
    hint: 'close it in a beforeCheckpoint hook and open it again in afterRestore',
  },
  {
    pattern:
      /Non-empty write queue on an in-flight socket|Found a closed in-flight socket|In-flight connection on/,
    code: 'unix-socket',
    reason: 'a unix socket has a connection that its server has not accepted yet',
    hint: 'try again when the server is idle',
  },
  {
    pattern: /Unsupported proto (\d+) for socket/,
    code: 'tcp-connection',
    reason: 'a socket of protocol $1 cannot be copied',
    hint: 'a Go program may need GODEBUG=multipathtcp=0',
  },
  {
    pattern: /Some file locks are hold by dumping tasks|Unresolved lock found pid (\d+)/,
    code: 'file-lock',
    reason: 'the program holds a file lock that it shares with a process outside',
    hint: 'release the lock in a beforeCheckpoint hook',
  },
  {
    pattern: /Can not set (?:flock|posix lock|ofd lock)|Can't set (?:lease|file lock)|Broken lease/,
    code: 'file-lock',
    reason: 'a file lock that the program held belongs to another process now',
    hint: 'end the process that holds the lock, such as the original program',
  },
  {
    pattern: /Can't dump that handle|fsnotify: .*(?:Can't|Unable)|Failed to resolve irmap/,
    code: 'inotify',
    reason: 'the program watches a file or directory with inotify that CRIU cannot find again',
    hint: 'close the watcher in a beforeCheckpoint hook',
  },
  {
    pattern: /Can't (?:open|find) mapped \[(.*?)(?: \(deleted\))\]/,
    code: 'deleted-file',
    reason: 'the program has the file $1 mapped, which was deleted or replaced since it was started',
    hint: restart,
  },
  {
    pattern: /Can't dump ghost file (.*) of (\d+) size, increase limit/,
    code: 'deleted-file',
    reason:
      'the program has the deleted file $1 of $2 bytes open, which is too large to be put into an image',
    hint: 'close it in a beforeCheckpoint hook',
  },
  {
    pattern: /Can't create link remap for (.*?)\. /,
    code: 'deleted-file',
    reason: 'the program has the file $1 open under a name that was deleted, while other names of it exist',
    hint: 'close it in a beforeCheckpoint hook',
  },
  {
    pattern: /Unaccessible path opened|Strange file mapped at/,
    code: 'deleted-file',
    reason: 'the program has a file open or mapped whose path leads to another file by now',
    hint: restart,
  },
  {
    pattern: /Can't lookup mount=\S+ for fd=(\S+) path=(.*)$/,
    code: 'mount',
    reason: 'the descriptor $1 ($2) was opened outside the pod',
    hint: 'start the program with `forkpoint run`, without handing it open descriptors',
  },
  {
    pattern: /Open files on overmounted mounts are not supported.*path=(.*)$/,
    code: 'mount',
    reason: 'the file $1 lies in a directory that something was mounted over since',
  },
  {
    pattern: /Unknown shit \d+ \((.*)\)|The path \[(.*)\] is not supported/,
    code: 'device',
    reason: 'the program has $1$2 open, which CRIU cannot copy',
    hint: 'close it in a beforeCheckpoint hook',
  },
  {
    pattern: /Can't handle non-regular mapping|Unsupported mapping found|handle_device_vma/,
    code: 'device',
    reason: 'the program has a device mapped, such as a graphics card, which CRIU cannot copy',
    hint: 'close it in a beforeCheckpoint hook',
  },
  {
    pattern: /tty: .*(?:Unable|Can't|Failed|Not all|Found)/,
    code: 'terminal',
    reason: 'a terminal of the program cannot be copied',
    hint: 'run it without a terminal: `forkpoint run -d`',
  },
  // The processes themselves.
  {
    pattern: /suspending seccomp failed|failed to suspend seccomp/,
    code: 'seccomp',
    reason: 'the program has a seccomp filter, which cannot be suspended without root',
    hint: 'switch its sandbox off, as with --no-sandbox',
  },
  {
    pattern: /Unseizable non-zombie (\d+) found/,
    code: 'traced',
    reason: 'process $1 is held by a debugger or tracer',
    hint: 'detach it (strace, gdb), then try again',
  },
  {
    pattern: /A session leader of (?:zombie process )?(\d+).* is outside of its pid namespace/,
    code: 'session',
    reason: 'process $1 belongs to a session whose leader is not part of the program',
    hint: 'start the program with `forkpoint run`',
  },
  {
    pattern: /A root task is dead|zombie (\d+) .*found while seizing/,
    code: 'gone',
    reason: 'the program ended while it was being copied',
  },
  {
    pattern: /The criu itself is within dumped tree/,
    code: 'namespace',
    reason: 'CRIU would have to copy itself',
  },
  {
    pattern:
      /Nested (?:mount|pid|user) namespaces? (?:are|is) not supported|nested .*namespace.* not supported/i,
    code: 'namespace',
    reason: 'a process of the program lives in namespaces of its own, such as a sandbox or a container',
    hint: 'switch its sandbox off, as with --no-sandbox',
  },
  {
    pattern: /SysVIPC shmem map|Sysv shmem .* not supported/,
    code: 'ipc',
    reason: 'the program uses System V shared memory, which cannot be copied without root',
  },
  {
    pattern: /Individually stopped threads not supported|unsupported stop signal/,
    code: 'traced',
    reason: 'a thread of the program is stopped by itself',
  },
  {
    pattern: /Can't splice all pages to pipe/,
    code: 'kernel',
    reason: 'memory of the program could not be read',
    hint: 'run `forkpoint doctor`',
  },
  // At a restore.
  {
    pattern: /Can't bind inet socket.*Address already in use/,
    code: 'address-in-use',
    reason: 'a port that the program listened on is taken',
    hint: 'end the program that listens there (`ss -ltnp`)',
  },
  {
    pattern: /Can't bind (?:inet socket|id \S+ ino \d+ addr) ?(.*): (.*)$/,
    code: 'address-in-use',
    reason: 'an address that the program listened on cannot be used: $2',
  },
  {
    pattern: /File (.*) has bad size (\d+) \(expect (\d+)\)/,
    code: 'file-changed',
    reason: 'the file $1 has changed since the checkpoint: it has $2 bytes and had $3',
    hint: 'take a new checkpoint, or bring the old file back',
  },
  {
    pattern: /File (.*) has bad mode (\S+) \(expect (\S+)\)/,
    code: 'file-changed',
    reason: 'the file $1 has changed since the checkpoint: its mode is $2 and was $3',
    hint: 'give it its old mode with chmod',
  },
  {
    pattern: /File (.*) has bad build-ID/,
    code: 'file-changed',
    reason: 'the program or library $1 was replaced since the checkpoint',
    hint: 'take a new checkpoint',
  },
  {
    pattern: /Can't open file (fp-slot\/\S+|pipe:\[\d+\]|socket:\[\d+\]) on restore/,
    code: 'slot',
    reason: 'nothing was given for the slot $1',
  },
  {
    pattern: /Can't (?:open file|stat) (.*?)(?: on restore)?: (No such file or directory|Permission denied)/,
    code: 'file-missing',
    reason: 'the file $1 is needed and cannot be opened: $2',
    hint: 'bring the file back, or take a new checkpoint',
  },
  {
    pattern: /Can't fork for (\d+): (?:File exists|Resource temporarily unavailable)/,
    code: 'pid-in-use',
    reason: 'the process number $1 cannot be had: it is taken, or the limit of processes is reached',
    hint: 'try again, or raise the limit of processes (`ulimit -u`)',
  },
  {
    pattern: /Pid (\d+) do not match expected (\d+)|Thread pid mismatch/,
    code: 'pid-in-use',
    reason: 'a process number of the image is taken',
  },
  {
    pattern:
      /Can't setgroups|Unable to (?:set|restore) .*(?:user ID|group ID|fsuid|fsgid)|Unable to initialize id-s/,
    code: 'credentials',
    reason: 'the program had users or groups that this user may not have',
    hint: 'restore it as the user who ran it',
  },
  {
    pattern:
      /Unable to (?:restore capabilities|drop capability|raise ambient capability|set PR_SET_SECUREBITS)/,
    code: 'credentials',
    reason: 'the program had capabilities that it cannot have here',
    hint: 'restore it as the user who ran it',
  },
  {
    pattern:
      /CPU (?:instruction )?capabilities do not match|FPU feature required by image|CPU xfeatures|CPU xsave/,
    code: 'cpu',
    reason: 'the image needs a processor with features that this one lacks',
    hint: 'restore it on a machine like the one it was taken on, or start the program with --or-run',
  },
  {
    pattern:
      /Image (?:carries|corrupted)|Unknown image format|Failed unpacking object|[Mm]agic doesn't match|Unexpected EOF on|No .*inventory|Core (?:task|IDS|info|march)|Bad magic|Short read/,
    code: 'image',
    reason: 'the image is damaged or comes from another version of CRIU',
    hint: 'let `forkpoint verify IMAGE` name what is damaged, or take a new checkpoint',
  },
  {
    pattern: /Unable to open (\S+\.img)|Can't open (\S+\.img)|Can't open dir (.*): /,
    code: 'image',
    reason: 'the image is not complete: $1$2$3 cannot be opened',
    hint: 'take a new checkpoint',
  },
  {
    pattern: /mnt: .*(?:Unable|Can't|Failed|failed|unsupported)|mount.*Invalid argument/,
    code: 'mount',
    reason: 'the file systems of the program cannot be copied or brought back',
  },
  {
    pattern: /(?:timens|time namespace).*(?:Unable|Can't|not supported)|timens_offsets/,
    code: 'kernel',
    reason: 'this kernel does not let the program’s clocks go on',
    hint: 'run `forkpoint doctor`',
  },
  {
    pattern: /Unable to connect a socket: Network is unreachable/,
    code: 'network',
    reason: 'the loopback interface of this network namespace is down',
    hint: 'as root: `ip link set lo up`',
  },
  {
    pattern:
      /rseq but kernel lacks|kernel doesn't support|kernel .* is missing|Could not initialize kernel features/,
    code: 'kernel',
    reason: 'this kernel lacks a function that CRIU needs',
    hint: 'run `forkpoint doctor`',
  },
  {
    pattern: /CRIU needs to have the CAP_SYS_ADMIN|needs to have the CAP_CHECKPOINT_RESTORE/,
    code: 'permission',
    reason: 'CRIU was started without the rights that it has in a pod',
    hint: 'run `forkpoint doctor`',
  },
  // Resources, in whatever part of CRIU they run out.
  {
    pattern: /No space left on device|Disk quota exceeded/,
    code: 'space',
    reason: 'the disk of the image directory is full',
    hint: 'make room, or name another directory',
  },
  {
    pattern: /Cannot allocate memory|Not enough memory/,
    code: 'memory',
    reason: 'there is not enough memory',
  },
  {
    pattern: /Too many open files|Too big FD number/,
    code: 'limits',
    reason: 'the limit of open files is too low',
    hint: 'raise it with `ulimit -n`',
  },
  { pattern: /Timeout reached/, code: 'timeout', reason: 'CRIU could not finish in time' },
  { pattern: /Read-only file system/, code: 'permission', reason: 'a file system is mounted read-only' },
  // Consequences: true, but seldom the reason.
  {
    pattern:
      /Unable to detach (?:from )?(\d+)|Child (\d+) died too early|(\d+) (?:exited, status=|killed by signal)/,
    code: 'engine',
    reason: 'process $1$2$3 ended while CRIU worked on it',
  },
  {
    pattern: /BUG at (\S+)|Restorer (?:fail|abnormal termination)/,
    code: 'engine',
    reason: 'CRIU met a bug of its own ($1)',
  },
  {
    pattern: /Operation not permitted|Permission denied/,
    code: 'engine',
    reason: 'CRIU was refused something that it may do in a pod',
    hint: 'run `forkpoint doctor`',
  },
];
