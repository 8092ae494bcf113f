import type { Resource } from '@forkpoint/manifest';
import { inodeOf, viewOf } from './descriptors.ts';
import { daemonFinding, descriptorFinding, processFindings } from './findings.ts';
import { NO_POLICIES, policyFinding, ruleFor } from './policies.ts';
import type { Policies } from './policies.ts';
import { readDescriptors, readLink, readProcesses, splitTree } from './proc.ts';
import type { ProcessFacts } from './proc.ts';
import { readSockets } from './sockets.ts';
import type { SocketFacts } from './sockets.ts';

/** What is known about a program before it is dumped. */
export interface Look {
  readonly tree: readonly ProcessFacts[];
  /** Everything that stands in the way of a checkpoint, all at once. */
  readonly findings: readonly Resource[];
  /** Whether some process watches files with inotify: CRIU then has to be told where to look for them. */
  readonly watchesFiles: boolean;
  readonly workingDirectories: readonly string[];
}

/** Sockets of a program that are connected to somebody outside its tree. */
export interface OutsideSockets {
  /** Inodes of the program's unix sockets whose other ends lie outside: CRIU has to be told that they may. */
  readonly externalUnix: readonly number[];
  /** Whether there are datagram sockets that CRIU can connect again by name, as those to the system's log. */
  readonly externalDatagrams: boolean;
}

/** What a look needs beyond /proc. */
export interface LookOptions {
  /** Pids of the pod that belong to forkpoint itself. */
  readonly ignore: ReadonlySet<number>;
  /** Returns the lines of `LauncherLink.peers`; asked only when the program has a socket. */
  readonly peers: () => Promise<readonly string[]>;
  /** None when absent. */
  readonly policies?: Policies;
}

/** Looks at a running program and finds what CRIU could not dump, or would leave out without a word. Nothing is stopped. */
export async function look(root: number, options: LookOptions): Promise<Look> {
  const { policies = NO_POLICIES } = options;
  const { tree, others } = splitTree(readProcesses(), root);
  const findings: Resource[] = others
    .filter((process) => !options.ignore.has(process.pid) && !isOurs(process))
    .map((process) => daemonFinding(process));
  const directories = new Set<string>();
  const alive = tree.filter(({ state }) => state !== 'Z');
  const open = alive.flatMap(({ pid }) => readDescriptors(pid));
  const inodes = inodesOf(open);
  const sockets =
    inodes.size === 0
      ? new Map<number, SocketFacts>()
      : readSockets({ inodes, peers: await options.peers() });
  const views = open.map((descriptor) => viewOf(descriptor, sockets));
  for (const process of alive) {
    const cwd = readLink(`/proc/${process.pid}/cwd`);
    if (cwd !== null) directories.add(cwd);
    findings.push(...processFindings(process));
    for (const view of views) {
      if (view.pid !== process.pid) continue;
      // What a rule leaves to CRIU is not looked at.
      const isLeft = ruleFor(policies, view)?.action === 'ignore';
      for (const finding of [policyFinding(policies, view), isLeft ? null : descriptorFinding(view)]) {
        if (finding !== null) findings.push(finding);
      }
    }
  }
  return {
    tree,
    findings,
    watchesFiles: views.some(({ kind }) => kind === 'inotify'),
    workingDirectories: [...directories],
  };
}

/** The sockets of a tree as they were at some moment. */
export interface SocketsSeen {
  /** Inodes of its unix sockets. */
  readonly unix: ReadonlySet<number>;
  /** Inodes of all others. */
  readonly others: ReadonlySet<number>;
  /** Whether every unix socket listens or is connected, so that none can become connected without a new inode. */
  readonly isSettled: boolean;
  readonly outside: OutsideSockets;
}

/** Finds the unix sockets of a tree that are connected to somebody outside it. */
export async function seeSockets(
  tree: readonly ProcessFacts[],
  peers: LookOptions['peers'],
  policies: Policies = NO_POLICIES,
): Promise<SocketsSeen> {
  const open = tree
    .flatMap(({ pid }) => readDescriptors(pid))
    .filter(({ target }) => inodeOf(target) !== null);
  const own = inodesOf(open);
  const externalUnix: number[] = [];
  let externalDatagrams = false;
  // Only rules speak of the addresses of others.
  const onlyUnix = policies.rules.length === 0;
  const sockets =
    own.size === 0
      ? new Map<number, SocketFacts>()
      : readSockets({ inodes: own, peers: await peers(), onlyUnix });
  const left = new Set(
    open
      .map((descriptor) => viewOf(descriptor, sockets))
      .filter((view) => ruleFor(policies, view)?.action === 'ignore')
      .map(({ target }) => inodeOf(target)),
  );
  for (const inode of own) {
    const socket = sockets.get(inode);
    if (left.has(inode)) continue;
    if (socket === undefined || socket.peerInode === null || own.has(socket.peerInode)) continue;
    // CRIU can connect a datagram socket again by the name of the other end; a stream is closed in the clone.
    if (!socket.isStream && socket.peer !== null) externalDatagrams = true;
    else externalUnix.push(inode);
  }
  const unix = [...own].filter((inode) => sockets.get(inode)?.kind === 'unix');
  return {
    unix: new Set(unix),
    others: new Set([...own].filter((inode) => !unix.includes(inode))),
    isSettled: unix.every((inode) => {
      const socket = sockets.get(inode);
      return socket?.isListening === true || typeof socket?.peerInode === 'number';
    }),
    outside: { externalUnix, externalDatagrams },
  };
}

function inodesOf(open: readonly { readonly target: string }[]): Set<number> {
  return new Set(open.map(({ target }) => inodeOf(target)).filter((inode) => inode !== null));
}

/**
 * Returns what `seeSockets` does right before the dump, when the program stands still. The tables of the network namespace
 * take some 8 ms to read; they are read again only when the tree has other unix sockets than when it was `seen` running.
 */
export async function outsideSockets(
  tree: readonly ProcessFacts[],
  seen: SocketsSeen,
  peers: LookOptions['peers'],
  policies: Policies = NO_POLICIES,
): Promise<OutsideSockets> {
  const now = new Set(tree.flatMap(({ pid }) => readDescriptors(pid)).map(({ target }) => inodeOf(target)));
  now.delete(null);
  const isSame =
    seen.isSettled &&
    [...seen.unix].every((inode) => now.has(inode)) &&
    [...now].every((inode) => inode === null || seen.unix.has(inode) || seen.others.has(inode));
  return isSame ? seen.outside : (await seeSockets(tree, peers, policies)).outside;
}

/** Returns the processes outside the dumped tree that were there when the image was taken; see `daemonFinding`. */
export function leftOut(
  processes: readonly ProcessFacts[],
  dumped: ReadonlySet<number>,
  options: { readonly root: number; readonly ignore: ReadonlySet<number>; readonly latestStart: number },
): Resource[] {
  return splitTree(processes, options.root)
    .others.filter(
      (process) =>
        !options.ignore.has(process.pid) &&
        !isOurs(process) &&
        !dumped.has(process.pid) &&
        process.startTime <= options.latestStart &&
        process.state !== 'Z',
    )
    .map((process) => daemonFinding(process));
}

// pid 1 is the launcher; what delivers an outcome is its child.
function isOurs(process: ProcessFacts): boolean {
  return process.pid === 1 || (process.parentPid === 1 && process.comm === 'fp-deliver');
}
