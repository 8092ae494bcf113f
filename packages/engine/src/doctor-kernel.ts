import { existsSync, readFileSync } from 'node:fs';
import { arch, networkInterfaces, platform, release } from 'node:os';
import { gunzipSync } from 'node:zlib';
import { lastLine, runCommand } from './command.ts';
import { isAtLeast } from './criu.ts';
import { readProc, row } from './doctor-row.ts';
import type { DoctorRow } from './doctor-row.ts';

/** Time namespaces, clone3 with chosen pids and pidfd_getfd came with 5.5 and 5.6; 5.11 is the oldest that is supported. */
const MINIMUM_KERNEL = '5.11';
/** Options without which CRIU or a pod cannot work, as of Linux 6.18. */
const REQUIRED_OPTIONS = (
  'CHECKPOINT_RESTORE NAMESPACES USER_NS PID_NS UTS_NS IPC_NS TIME_NS ' +
  'UNIX UNIX_DIAG INET INET_DIAG EPOLL EVENTFD FHANDLE PROC_FS'
).split(' ');
const MAX_CONFIG_BYTES = 16 << 20;
/** Pods start counting at a random pid well above what a small machine uses. */
const MINIMUM_PIDS = 32_768;

/** Returns the rows about the processor, the kernel and what the system's administrator allows. */
export async function kernelRows(): Promise<DoctorRow[]> {
  return [
    row(
      'system',
      platform() === 'linux' && arch() === 'x64',
      `${platform()} on ${arch()}`,
      'use a Linux machine with an x86-64 processor',
    ),
    kernelVersion(),
    kernelOptions(),
    await userNamespaces(),
    row(
      'time namespaces',
      existsSync('/proc/self/timens_offsets'),
      existsSync('/proc/self/timens_offsets') ? 'the clocks of a pod can be set' : 'this kernel has none',
      'use a kernel with CONFIG_TIME_NS (Linux 5.6 or newer)',
    ),
    surroundings(existsSync, process.env),
    seccomp(),
    tracing(),
    pidLimit(),
    openFiles(),
    hardLinks(),
    loopback(),
    selinux(),
  ];
}

function kernelVersion(): DoctorRow {
  const version = /^[0-9]+(\.[0-9]+)*/.exec(release())?.[0] ?? '0';
  return row('kernel', isAtLeast(version, MINIMUM_KERNEL), release(), `use Linux ${MINIMUM_KERNEL} or newer`);
}

function kernelOptions(): DoctorRow {
  const name = 'kernel options';
  const hint = 'use a kernel that has these options, as those of Debian, Ubuntu and Fedora do';
  // The kernel makes this file only with CONFIG_CHECKPOINT_RESTORE (kernel/pid_namespace.c).
  if (!existsSync('/proc/sys/kernel/ns_last_pid'))
    return row(name, false, 'CHECKPOINT_RESTORE is missing', hint);
  const config = kernelConfig();
  if (config === null)
    return row(name, true, 'the kernel does not show its options; what is needed was tried below');
  const missing = REQUIRED_OPTIONS.filter(
    (option) => !new RegExp(`^CONFIG_${option}=[ym]$`, 'm').test(config),
  );
  return row(
    name,
    missing.length === 0,
    missing.length === 0 ? 'all there' : `missing: ${missing.join(', ')}`,
    hint,
  );
}

/** Returns the kernel's configuration from the places where distributions leave it; null when none can be read. */
function kernelConfig(): string | null {
  try {
    if (existsSync('/proc/config.gz')) {
      return gunzipSync(readFileSync('/proc/config.gz'), { maxOutputLength: MAX_CONFIG_BYTES }).toString(
        'latin1',
      );
    }
  } catch {
    // A container may hide the file behind an unreadable one: the next place is as good.
  }
  return readProc(`/boot/config-${release()}`) ?? readProc(`/lib/modules/${release()}/config`);
}

/** Makes a user namespace with a mount and a pid namespace in it, as a pod does, and says who forbids it. */
async function userNamespaces(): Promise<DoctorRow> {
  const name = 'user namespaces';
  const argv = ['unshare', '--user', '--map-root-user', '--mount', '--pid', '--fork', '--', 'true'];
  const result = await runCommand(argv, { timeoutMs: 20_000, env: { ...process.env, LC_ALL: 'C' } });
  if (result.exitCode === 0) return row(name, true, 'can be made');
  if (result.exitCode === 127 && result.stdout === '' && /ENOENT/.test(result.stderr)) {
    return row(name, false, 'the command unshare is missing', 'install the package util-linux');
  }
  const sysctls: [string, (value: string) => boolean, string][] = [
    ['kernel.unprivileged_userns_clone', (value) => value === '0', '1'],
    ['user.max_user_namespaces', (value) => value === '0', '10000'],
    ['kernel.apparmor_restrict_unprivileged_userns', (value) => value === '1', '0'],
  ];
  for (const [key, isForbidding, wanted] of sysctls) {
    const value = readProc(`/proc/sys/${key.replaceAll('.', '/')}`);
    if (value !== null && isForbidding(value)) {
      return row(name, false, `forbidden by ${key}=${value}`, `as root: sysctl -w ${key}=${wanted}`);
    }
  }
  return row(
    name,
    false,
    lastLine(result),
    'in a container, let it make user namespaces (--security-opt seccomp=unconfined, or --privileged)',
  );
}

/** What is around this process, since what it needs is said in its words. */
export function surroundings(
  exists: (path: string) => boolean,
  env: Readonly<Record<string, string | undefined>>,
): DoctorRow {
  const isPodman = exists('/run/.containerenv');
  const options = `--security-opt seccomp=unconfined --security-opt ${isPodman ? 'unmask=ALL' : 'systempaths=unconfined'}`;
  const kinds: [boolean, string][] = [
    [isPodman, `podman; it needs ${options}`],
    [!isPodman && exists('/.dockerenv'), `Docker; it needs ${options}`],
    [
      exists('/run/systemd/container'),
      'a container of systemd, which must allow user namespaces and mounts in them',
    ],
    [
      env['GITHUB_ACTIONS'] === 'true',
      'GitHub Actions; a job with `container:` needs the same options as Docker',
    ],
    [
      env['INVOCATION_ID'] !== undefined,
      'a service of systemd; RestrictNamespaces=, SystemCallFilter= and ProtectProc= must be off',
    ],
  ];
  const found = kinds.filter(([is]) => is).map(([, text]) => text);
  return row(
    'surroundings',
    true,
    found.length === 0 ? 'no container that can be recognised' : found.join('; '),
  );
}

function seccomp(): DoctorRow {
  const mode = /^Seccomp:\s*(\d)/m.exec(readProc('/proc/self/status') ?? '')?.[1] ?? '0';
  // Programs inherit the filter, and only the machine's own root may suspend one while CRIU works, which nobody is in a
  // pod (ptrace(2), PTRACE_O_SUSPEND_SECCOMP).
  return row(
    'seccomp',
    mode === '0',
    mode === '0' ? 'no filter' : 'this process runs under a seccomp filter, which its programs inherit',
    'start the container or service without a seccomp filter (--security-opt seccomp=unconfined)',
  );
}

function tracing(): DoctorRow {
  const scope = readProc('/proc/sys/kernel/yama/ptrace_scope');
  return row(
    'tracing',
    scope !== '3',
    scope === null ? 'not restricted' : `kernel.yama.ptrace_scope=${scope}`,
    'as root: set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and start the machine again',
  );
}

function pidLimit(): DoctorRow {
  const max = Number(readProc('/proc/sys/kernel/pid_max') ?? '0');
  return row(
    'process ids',
    max >= MINIMUM_PIDS,
    `up to ${max}`,
    `as root: sysctl -w kernel.pid_max=${MINIMUM_PIDS}`,
  );
}

function openFiles(): DoctorRow {
  const match = /^Max open files\s+(\S+)\s+(\S+)/m.exec(readProc('/proc/self/limits') ?? '');
  const count = (text: string | undefined): number => (text === 'unlimited' ? Infinity : Number(text ?? 0));
  return row(
    'open files',
    count(match?.[1]) >= 1024 && count(match?.[2]) >= 4096,
    `${match?.[1] ?? '?'}, at most ${match?.[2] ?? '?'}`,
    'raise the limit of open files (`ulimit -n`, or nofile in /etc/security/limits.conf)',
  );
}

function hardLinks(): DoctorRow {
  const isProtected = readProc('/proc/sys/fs/protected_hardlinks') !== '0';
  return row(
    'hard links',
    true,
    isProtected ? 'images of another owner are copied, not linked' : 'unrestricted',
  );
}

/** CRIU tries sockets on it before it does anything (criu/kerndat.c); containers without a network may leave it down. */
function loopback(): DoctorRow {
  const isUp = Object.values(networkInterfaces())
    .flat()
    .some((one) => one?.internal);
  return row('loopback', isUp, isUp ? 'up' : 'the loopback interface is down', 'as root: ip link set lo up');
}

function selinux(): DoctorRow {
  const mode = readProc('/sys/fs/selinux/enforce');
  const denial = readProc('/sys/fs/selinux/booleans/deny_ptrace')?.startsWith('1') ?? false;
  const detail = mode === null ? 'not in use' : mode === '1' ? 'enforcing' : 'permissive';
  return row(
    'selinux',
    mode !== '1' || !denial,
    denial ? `${detail}, and deny_ptrace forbids CRIU to look at a program` : detail,
    'as root: setsebool deny_ptrace off',
  );
}
