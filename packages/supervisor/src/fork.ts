import { randomBytes } from 'node:crypto';
import { linkSync, mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { isAbsolute, join } from 'node:path';
import { encodeChildPlan } from '@forkpoint/manifest';
import type { ManifestSlot, Request } from '@forkpoint/manifest';
import { newId } from '@forkpoint/store';
import { capture, report } from './checkpoint.ts';
import { cannotCheckpoint } from './failures.ts';
import type { Job, Progress } from './checkpoint.ts';
import { inodeOf } from './descriptors.ts';
import { SupervisorError } from './error.ts';
import type { Look } from './look.ts';
import { readDescriptors } from './proc.ts';
import { readSockets } from './sockets.ts';
import type { SocketFacts } from './sockets.ts';

/** Where the choice for a listener stands when it is named neither by its slot nor by its port. */
const ANY = '*';
/**
 * Shortest run that is linked for children, in pages: what a parent has written to since its own restore lies in short runs, and each
 * child would have a copy of all of them. A mapping more costs a child some 10 us (bench/NOTES.md, "Fork").
 */
const THRESHOLD = 2;
const STREAMS = ['stdin', 'stdout', 'stderr'] as const;

/** The children of a fork, as they were ordered; whether they live, they tell whoever waits for them. */
export interface Forked {
  /** Ids of the runs that the children become, by index. */
  readonly children: readonly string[];
  readonly times: { readonly total: number; readonly dump: number; readonly frozen: number };
}

/** What the launcher holds of the program's descriptors: its place, or a negative error number, by `PID:FD`. */
type Taken = ReadonlyMap<string, number>;

/**
 * Forks the program: dumps it once, lets it go on, makes one linked image of the dump and has the launcher start
 * `count` children from it. Each child gets the image by hard links of its own, in a directory that lies below this
 * run's until the child takes it over, so that nothing outlives whom it belongs to.
 * Throws what `takeCheckpoint` throws, and ERR_FORKPOINT_FORK.
 */
export async function takeFork(job: Job, progress: Progress): Promise<Forked> {
  const started = performance.now();
  const { link, request, surroundings } = job;
  const before = await report(job);
  if (before.findings.length > 0) throw cannotCheckpoint(before.findings);
  const forks = join(surroundings.runDirectory, 'forks');
  const image = join(forks, `image-${randomBytes(6).toString('hex')}`);
  const made: string[] = [image];
  mkdirSync(image, { recursive: true, mode: 0o700 });
  try {
    let taken: Taken = new Map();
    let known: Sockets = new Map();
    const steps = {
      prepared: () => {
        known = socketsOf(socketsIn(before));
        progress.prepared();
      },
      resumed: () => progress.resumed(),
      // Now, because the numbers may mean something else once the program runs again.
      halted: async () => {
        taken = await takeDescriptors(job, before, known);
      },
    };
    const captured = await capture(job, before, image, steps, THRESHOLD);
    const { manifest, dumped } = captured;
    const listeners = listenersOf(manifest.slots, taken, request.listen ?? {});
    const streams = (request.stdio ?? 'inherit') === 'inherit' ? streamsOf(surroundings.rootPid, taken) : [];
    const inherited = [...streams, ...listeners.shared];
    const children = Array.from({ length: request.count ?? 1 }, newId);
    const plans = children.map((id, index) => {
      const directory = join(forks, id);
      made.push(directory);
      linkTree(image, join(directory, 'image'));
      return writePlan(job, directory, {
        id,
        index,
        inherit: inherited.map(({ name }) => name),
        listeners,
      });
    });
    for (const plan of plans) {
      await link.child(
        request.detached === true,
        plan,
        inherited.map(({ place }) => place),
      );
    }
    made.length = 1;
    const times = { total: performance.now() - started, dump: dumped.elapsedMs, frozen: captured.frozenMs };
    return { children, times };
  } finally {
    for (const path of made) rmSync(path, { recursive: true, force: true });
  }
}

/** Writes what a child's launcher goes by into its directory, and returns the path. */
function writePlan(
  job: Job,
  directory: string,
  child: {
    readonly id: string;
    readonly index: number;
    readonly inherit: readonly string[];
    readonly listeners: ReturnType<typeof listenersOf>;
  },
): string {
  const { request, surroundings } = job;
  const { id, index, inherit, listeners } = child;
  const plan = encodeChildPlan({
    id,
    home: surroundings.home,
    index,
    isDetached: request.detached === true,
    stdio: request.stdio ?? 'inherit',
    socket: socketOf(job),
    inherit,
    close: listeners.closed,
    hostname: request.hostname?.replaceAll('%i', String(index)) ?? null,
    args: [join(surroundings.home, 'runs', id, 'image'), ...optionsOf(request, listeners.own)],
    worker: process.argv.slice(0, 2),
  });
  const path = join(directory, 'child.plan');
  writeFileSync(path, plan, { mode: 0o600 });
  return path;
}

type Sockets = ReadonlyMap<number, SocketFacts>;
type Open = ReturnType<typeof readDescriptors>;

/** Returns the descriptors of sockets that the program has now. */
function socketsIn({ tree }: Look): Open {
  return tree
    .filter(({ state }) => state !== 'Z')
    .flatMap(({ pid }) => readDescriptors(pid))
    .filter(({ target }) => inodeOf(target) !== null);
}

function socketsOf(open: Open): Sockets {
  const inodes = new Set(open.map(({ target }) => inodeOf(target) ?? 0));
  return inodes.size === 0 ? new Map() : readSockets({ inodes });
}

/**
 * Whether what was known of the sockets while the program ran holds when it stands still: the tables take 8 ms each to read. A socket
 * that is neither connected nor listening may listen by now.
 */
function isSettled(open: Open, known: Sockets): boolean {
  return open.every(({ target }) => {
    const socket = known.get(inodeOf(target) ?? 0);
    if (socket === undefined) return false;
    return socket.isListening || socket.kind === 'udp' || socket.peer !== null || socket.peerInode !== null;
  });
}

/** Has the launcher take the program's listening sockets, and its standard streams when the children shall have them. */
async function takeDescriptors(
  { link, request, surroundings }: Job,
  before: Look,
  known: Sockets,
): Promise<Taken> {
  const open = socketsIn(before);
  const sockets = isSettled(open, known) ? known : socketsOf(open);
  const found = open
    .filter(({ target }) => sockets.get(inodeOf(target) ?? 0)?.isListening === true)
    .map(({ pid, fd }): [number, number] => [pid, fd]);
  if ((request.stdio ?? 'inherit') === 'inherit')
    found.push(...STREAMS.map((_, fd): [number, number] => [surroundings.rootPid, fd]));
  if (found.length === 0) return new Map();
  const places = await link.take(found);
  return new Map(found.map(([pid, fd], at) => [`${pid}:${fd}`, places[at] ?? -1]));
}

interface Inherited {
  readonly name: string;
  readonly place: number;
}

function streamsOf(rootPid: number, taken: Taken): Inherited[] {
  return STREAMS.map((name, fd) => ({ name, place: taken.get(`${rootPid}:${fd}`) ?? -1 })).filter(
    ({ place }) => place >= 0,
  );
}

/** Decides about every listening socket: the parent's own (unless something else is asked for), one at an address, or none. */
function listenersOf(
  slots: readonly ManifestSlot[],
  taken: Taken,
  choices: Readonly<Record<string, string>>,
): { shared: Inherited[]; closed: string[]; own: string[] } {
  const shared: Inherited[] = [];
  const closed: string[] = [];
  const own: string[] = [];
  const used = new Set([ANY]);
  for (const slot of slots) {
    if (slot.kind !== 'tcp' && slot.kind !== 'unix') continue;
    const names = [slot.id, ...(slot.kind === 'tcp' ? [String(slot.port)] : []), ANY];
    const name = names.find((one) => choices[one] !== undefined);
    if (name !== undefined) used.add(name);
    const choice = (name === undefined ? undefined : choices[name]) ?? 'share';
    const address = choice === 'share' ? ownBeside(slot, taken) : choice;
    if (choice === 'close') closed.push(slot.id);
    else if (address !== null) own.push('--listen', `${slot.id}=${address}`);
    else shared.push({ name: slot.id, place: placeOf(slot, taken) });
  }
  const unknown = Object.keys(choices).find((name) => !used.has(name));
  if (unknown !== undefined) {
    throw new SupervisorError('ERR_FORKPOINT_FORK', `the program has no listening socket ${unknown}`, {
      hint: `it has ${slots.map(({ id }) => id).join(', ')}`,
    });
  }
  return { shared, closed, own };
}

function placesOf(slot: ManifestSlot, taken: Taken): number[] {
  return slot.fds.map(({ pid, fd }) => taken.get(`${pid}:${fd}`)).filter((place) => place !== undefined);
}

/**
 * Where a child listens itself, beside the parent, because the kernel gave no copy of the parent's socket: with SO_REUSEPORT several
 * sockets of one user have one address, and the kernel deals out the connections. Null when that is not needed or not possible.
 */
function ownBeside(slot: ManifestSlot, taken: Taken): string | null {
  if (slot.kind !== 'tcp' || !slot.options.includes('reuseport')) return null;
  if (placesOf(slot, taken).some((place) => place >= 0)) return null;
  return `${slot.address.includes(':') ? `[${slot.address}]` : slot.address}:${slot.port}`;
}

function placeOf(slot: ManifestSlot, taken: Taken): number {
  const places = placesOf(slot, taken);
  const place = places.find((one) => one >= 0);
  if (place !== undefined) return place;
  throw new SupervisorError(
    'ERR_FORKPOINT_FORK',
    `the listening socket ${slot.id} cannot be shared with children: the kernel gave no copy of it (errno ${-(places[0] ?? 0)})`,
    {
      hint: `give the children sockets of their own, or none: listen: { '${slot.id}': 'close' }; or let the program listen with reusePort`,
    },
  );
}

/** The path of the socket at which whoever forked waits, as it is seen from outside of this pod. */
function socketOf({ request, surroundings }: Job): string | null {
  const { socket } = request;
  if (socket === undefined) return null;
  return isAbsolute(socket) ? socket : join(surroundings.runDirectory, 'ctl', socket);
}

function optionsOf(request: Request, own: readonly string[]): string[] {
  return [
    ...own,
    ...Object.entries(request.env ?? {}).flatMap(([name, value]) => ['--env', `${name}=${value}`]),
    ...((request.args ?? []).length === 0 ? [] : ['--', ...(request.args ?? [])]),
  ];
}

function linkTree(from: string, to: string): void {
  mkdirSync(to, { recursive: true, mode: 0o700 });
  for (const entry of readdirSync(from, { withFileTypes: true })) {
    const [source, target] = [join(from, entry.name), join(to, entry.name)];
    if (entry.isDirectory()) linkTree(source, target);
    else linkSync(source, target);
  }
}
