import type { Resource } from '@forkpoint/manifest';
import type { ProcessFacts } from './proc.ts';
import { readDescriptors, readLink, readProcesses, readText, splitTree } from './proc.ts';

/** What is known about a program before it is dumped. */
export interface Look {
  readonly tree: readonly ProcessFacts[];
  /** Everything that stands in the way of a checkpoint, all at once. */
  readonly findings: readonly Resource[];
  /** Whether some process watches files with inotify: CRIU then has to be told where to look for them. */
  readonly watchesFiles: boolean;
  readonly workingDirectories: readonly string[];
}

/**
 * Looks at a running program and finds what CRIU could not dump, or would leave out without a word.
 * Nothing is stopped. `ignore` are pids of the pod that belong to forkpoint itself.
 */
export function look(root: number, ignore: ReadonlySet<number>): Look {
  const { tree, others } = splitTree(readProcesses(), root);
  const findings: Resource[] = others
    .filter((process) => !ignore.has(process.pid) && !isOurs(process))
    .map((process) => daemonFinding(process));
  const directories = new Set<string>();
  let watchesFiles = false;
  for (const process of tree) {
    if (process.state === 'Z') continue;
    const cwd = readLink(`/proc/${process.pid}/cwd`);
    if (cwd !== null) directories.add(cwd);
    findings.push(...statusFindings(process.pid), ...mappingFindings(process.pid));
    for (const descriptor of readDescriptors(process.pid)) {
      if (descriptor.target === 'anon_inode:inotify') watchesFiles = true;
      const finding = descriptorFinding(descriptor.pid, descriptor.fd, descriptor.target);
      if (finding !== null) findings.push(finding);
    }
  }
  return { tree, findings, watchesFiles, workingDirectories: [...directories] };
}

/** Returns the processes outside the dumped tree that were there when the image was taken; see `daemonFinding`. */
export function leftOut(
  dumped: ReadonlySet<number>,
  root: number,
  ignore: ReadonlySet<number>,
  latestStart: number,
): Resource[] {
  return splitTree(readProcesses(), root)
    .others.filter(
      (process) =>
        !ignore.has(process.pid) &&
        !isOurs(process) &&
        !dumped.has(process.pid) &&
        process.startTime <= latestStart &&
        process.state !== 'Z',
    )
    .map((process) => daemonFinding(process));
}

// pid 1 is the launcher; what delivers an outcome is its child.
function isOurs(process: ProcessFacts): boolean {
  return process.pid === 1 || (process.parentPid === 1 && process.comm === 'fp-deliver');
}

function daemonFinding(process: ProcessFacts): Resource {
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
    findings.push({ pid, kind: 'traced', what: `process ${pid} is being traced (a debugger or strace): detach it` });
  }
  if (value('Seccomp') !== 0) {
    findings.push({ pid, kind: 'seccomp', what: `process ${pid} runs under a seccomp filter, which cannot be lifted rootless` });
  }
  if (readLink(`/proc/${pid}/ns/user`) !== readLink('/proc/self/ns/user')) {
    findings.push({ pid, kind: 'user-namespace', what: `process ${pid} lives in a user namespace of its own (a sandbox?)` });
  }
  const exe = readLink(`/proc/${pid}/exe`);
  if (exe?.endsWith(' (deleted)') === true) {
    findings.push({ pid, kind: 'deleted-program', what: `${exe.slice(0, -10)} was replaced while it runs: restart the program` });
  }
  return findings;
}

// Mappings of files that no longer exist under their name cannot be dumped rootless (no CAP_SYS_ADMIN for map_files).
function mappingFindings(pid: number): Resource[] {
  const findings = new Map<string, Resource>();
  for (const line of (readText(`/proc/${pid}/maps`) ?? '').split('\n')) {
    const path = line.slice(73).trim();
    if (path === '') continue;
    if (path.startsWith('/SYSV')) {
      findings.set(path, { pid, kind: 'sysv-shm', what: 'System V shared memory is mapped, which cannot be dumped rootless' });
    } else if (path.startsWith('/secretmem')) {
      findings.set(path, { pid, kind: 'memfd_secret', what: 'memory of memfd_secret(2) cannot be read by anyone else' });
    } else if (path.endsWith(' (deleted)') && !/^\/(memfd:|dev\/zero)/.test(path)) {
      const name = path.slice(0, -10);
      findings.set(path, { pid, kind: 'deleted-mapping', what: `${name} is mapped but was deleted or replaced: restart the program` });
    }
  }
  return [...findings.values()];
}

const REFUSED: readonly (readonly [RegExp, string, string])[] = [
  [
    /^anon_inode:\[io_uring\]$/,
    'io_uring',
    'an io_uring, which CRIU cannot dump: start the program with `forkpoint run` without --no-preload (static programs: switch io_uring off)',
  ],
  [/^anon_inode:\[userfaultfd\]$/, 'userfaultfd', 'a userfaultfd, which CRIU cannot dump'],
  [/^anon_inode:\[perf_event\]$/, 'perf_event', 'a perf event, which CRIU cannot dump'],
  [/^anon_inode:bpf-prog$/, 'bpf', 'a BPF program, which CRIU cannot dump rootless'],
  [/^anon_inode:kvm/, 'kvm', 'a virtual machine'],
  [/^\/dev\/(nvidia|dri|kfd|fuse|kvm|vfio)/, 'device', 'a device whose state is in hardware or another process'],
];

function descriptorFinding(pid: number, fd: number, target: string): Resource | null {
  for (const [pattern, kind, what] of REFUSED) {
    if (pattern.test(target)) return { pid, fd, kind, what: target.startsWith('/') ? `${target}: ${what}` : what };
  }
  return null;
}
