import { statSync } from 'node:fs';
import type { Resource } from '@forkpoint/manifest';
import type { DescriptorView } from './descriptors.ts';
import { readLink, readText } from './proc.ts';
import type { ProcessFacts } from './proc.ts';

/** Bytes of a deleted file that CRIU takes into an image; what `dumpArguments` passes on. */
const GHOST_MAX = 1 << 30;

/** Returns what stands in the way in a process as a whole: debuggers, sandboxes, mappings and programs that are gone. */
export function processFindings(process: ProcessFacts): Resource[] {
  return [...statusFindings(process.pid), ...mappingFindings(process.pid)];
}

/** Returns the finding for a process that has left the program's tree. */
export function daemonFinding(process: ProcessFacts): Resource {
  return {
    pid: process.pid,
    kind: 'daemon',
    what: `process ${process.pid} (${process.comm}) has left the program's process tree; a restored program would lack it`,
  };
}

function statusFindings(pid: number): Resource[] {
  const status = readText(`/proc/${pid}/status`) ?? '';
  const findings: Resource[] = [];
  const value = (key: string): number => Number(new RegExp(`^${key}:\\s*(\\d+)`, 'm').exec(status)?.[1] ?? 0);
  if (value('TracerPid') !== 0) {
    findings.push({
      pid,
      kind: 'traced',
      what: `process ${pid} is being traced (a debugger or strace): detach it`,
    });
  }
  if (value('Seccomp') !== 0) {
    findings.push({
      pid,
      kind: 'seccomp',
      what: `process ${pid} runs under a seccomp filter, which cannot be lifted rootless: ${filterOf()}`,
    });
  }
  // Of a process that has ended since the list was read there is no link.
  const namespace = readLink(`/proc/${pid}/ns/user`);
  if (namespace !== null && namespace !== readLink('/proc/self/ns/user')) {
    findings.push({
      pid,
      kind: 'user-namespace',
      what: `process ${pid} lives in a user namespace of its own (a sandbox?)`,
    });
  }
  const exe = readLink(`/proc/${pid}/exe`);
  if (exe?.endsWith(' (deleted)') === true) {
    findings.push({
      pid,
      kind: 'deleted-program',
      what: `${exe.slice(0, -10)} was replaced while it runs: restart the program`,
    });
  }
  return findings;
}

/** A filter that the worker has as well comes from outside of the pod. */
function filterOf(): string {
  return /^Seccomp:\s*0$/m.test(readText('/proc/self/status') ?? '')
    ? 'switch the sandbox of the program off'
    : 'start the container or service without one (--security-opt seccomp=unconfined)';
}

// Mappings of files that no longer exist under their name cannot be dumped rootless (no CAP_SYS_ADMIN for map_files).
function mappingFindings(pid: number): Resource[] {
  const findings = new Map<string, Resource>();
  const exe = readLink(`/proc/${pid}/exe`);
  for (const line of (readText(`/proc/${pid}/maps`) ?? '').split('\n')) {
    const path = line.slice(73).trim();
    if (path === '') continue;
    if (path.startsWith('/SYSV')) {
      findings.set(path, {
        pid,
        kind: 'sysv-shm',
        what: 'System V shared memory is mapped, which cannot be dumped rootless',
      });
    } else if (path.startsWith('/secretmem')) {
      findings.set(path, {
        pid,
        kind: 'memfd_secret',
        what: 'memory of memfd_secret(2) cannot be read by anyone else',
      });
    } else if (path.startsWith('anon_inode:[io_uring]') || path.startsWith('anon_inode:[perf_event]')) {
      // The descriptor is named already, unless it was closed while its memory stays mapped.
      continue;
    } else if (path.endsWith(' (deleted)') && path !== exe && !/^\/(memfd:|dev\/zero)/.test(path)) {
      const name = path.slice(0, -10);
      findings.set(path, {
        pid,
        kind: 'deleted-mapping',
        what: isNameless(name)
          ? `${name} is mapped, a file that never had a name; a JVM has its heap in one with -XX:AllocateHeapAt: start it without`
          : `${name} is mapped but was deleted or replaced: restart the program`,
      });
    }
  }
  return [...findings.values()];
}

/** The kernel shows a file that open(2) made with O_TMPFILE as `/#INODE` in its directory. */
function isNameless(path: string): boolean {
  return /\/#\d+$/.test(path);
}

const REFUSED: readonly (readonly [RegExp, string, string])[] = [
  [
    /^anon_inode:\[io_uring\]$/,
    'io_uring',
    'an io_uring, which CRIU cannot dump: start the program with `forkpoint run` without --no-preload (static programs: switch io_uring off)',
  ],
  [/^anon_inode:\[userfaultfd\]$/, 'userfaultfd', 'a userfaultfd, which CRIU cannot dump'],
  [/^\/secretmem/, 'memfd_secret', 'memory of memfd_secret(2), which nobody else can read'],
  [/^anon_inode:\[perf_event\]$/, 'perf_event', 'a perf event, which CRIU cannot dump'],
  [/^anon_inode:\[?fanotify\]?$/, 'fanotify', 'a fanotify group, which cannot be dumped rootless'],
  [/^anon_inode:bpf-prog$/, 'bpf', 'a BPF program, which CRIU cannot dump rootless'],
  [/^anon_inode:kvm/, 'kvm', 'a virtual machine'],
  [/^anon_inode:\[?landlock-ruleset\]?$/, 'landlock', 'a Landlock ruleset, which CRIU cannot dump'],
  [/^anon_inode:seccomp notify$/, 'seccomp', 'a seccomp listener, which CRIU cannot dump'],
  [
    /^\/dev\/(nvidia|dri|kfd|fuse|kvm|vfio)/,
    'device',
    'a device whose state is in hardware or another process',
  ],
];

/** Returns why a descriptor cannot be dumped, or would come back wrong without a word; null when it can. */
export function descriptorFinding(view: DescriptorView): Resource | null {
  const { pid, fd, target } = view;
  for (const [pattern, kind, what] of REFUSED) {
    if (pattern.test(target))
      return { pid, fd, kind, what: target.startsWith('/dev/') ? `${target}: ${what}` : what };
  }
  if (view.kind === 'eventfd') return semaphoreFinding(view);
  return view.isDeleted ? deletedFinding(view) : null;
}

// CRIU does not keep EFD_SEMAPHORE: the clone would read the whole count at once. The kernel tells since Linux 6.5.
function semaphoreFinding({ pid, fd }: DescriptorView): Resource | null {
  if (!/^eventfd-semaphore:\s*1$/m.test(readText(`/proc/${pid}/fdinfo/${fd}`) ?? '')) return null;
  return {
    pid,
    fd,
    kind: 'eventfd-semaphore',
    what: 'an eventfd that counts like a semaphore, which CRIU would restore as a plain one',
  };
}

function deletedFinding({ pid, fd, path }: DescriptorView): Resource | null {
  try {
    const status = statSync(`/proc/${pid}/fd/${fd}`);
    if (!status.isFile()) return null;
    if (status.nlink > 0) {
      return {
        pid,
        fd,
        kind: 'deleted-name',
        what: `${path ?? 'a file'}: its name was deleted while other names of it exist; CRIU would have to make a new one`,
      };
    }
    if (status.size > GHOST_MAX) {
      return {
        pid,
        fd,
        kind: 'deleted-file',
        what: `${path ?? 'a file'} was deleted and has ${status.size} bytes, more than the ${GHOST_MAX} that go into an image`,
      };
    }
  } catch {
    // It was closed since the directory was read.
  }
  return null;
}
