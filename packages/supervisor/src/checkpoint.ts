import { randomBytes } from 'node:crypto';
import { readdirSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { dumpArguments, nativeDirectory } from '@forkpoint/engine';
import { ImageDirectory, PROT_EXEC, summarize } from '@forkpoint/image';
import type { ImageSummary } from '@forkpoint/image';
import { LAYERS } from '@forkpoint/linker';
import { encodeRestorePlan, restorePlanOf, serializeManifest } from '@forkpoint/manifest';
import type { Manifest, Request } from '@forkpoint/manifest';
import { rewrite } from '@forkpoint/rewrite';
import type { TerminalSettings } from '@forkpoint/rewrite';
import {
  cleanStale,
  compressInPlace,
  discard,
  isUnattended,
  openDestination,
  placesAt,
  publish,
} from '@forkpoint/store';
import { describe } from './describe.ts';
import { destinationOf } from './destination.ts';
import { cannotCheckpoint, dumpFailure, lostFinding } from './failures.ts';
import type { LauncherLink } from './link.ts';
import { adoptInherited, linkImage } from './link-image.ts';
import { locksOf } from './locks.ts';
import { leftOut, look, outsideSockets, seeSockets } from './look.ts';
import type { Look, SocketsSeen } from './look.ts';
import { findMembers, gather } from './members.ts';
import type { Member } from './members.ts';
import { policyOf, readPolicies } from './policies.ts';
import type { Policies } from './policies.ts';
import { readProcesses, readText, ticksNow } from './proc.ts';
import type { ProcessFacts } from './proc.ts';
import { earlierZombies } from './zombies.ts';
import { restoreScript } from './restore-script.ts';
import { withStacks } from './stacks.ts';
import { readsOf, scoreOf } from './score.ts';
import { frozenMs } from './statistics.ts';
import { openSource } from './source.ts';
import type { Surroundings } from './surroundings.ts';
import { watchedPaths } from './watched.ts';

/** Longest time for members to come to a halt when the request names none, in milliseconds. */
const READY_MS = 10_000;
/** Longest time for one `criu dump` when the request names none, in milliseconds. */
const DUMP_MS = 120_000;

/** A checkpoint that has been published. */
export interface Taken {
  readonly image: string;
  readonly manifest: Manifest;
  /** Bytes of the image directory, of its pages, and of page files that were copied because they cannot be linked there. */
  readonly sizes: { readonly total: number; readonly pages: number; readonly copied: number };
  /** Milliseconds by step. `frozen` is criu's own figure: how long the program stood still. */
  readonly times: { readonly total: number; readonly dump: number; readonly frozen: number };
}

/** Called at the points where somebody is told something. */
export interface Progress {
  /** The program was looked at and nothing stands in the way. */
  prepared(): void;
  /** The image is taken and the program runs again; publishing goes on. Not called when the program is to end. */
  resumed(): void;
}

/** One checkpoint under way. */
export interface Job {
  readonly link: LauncherLink;
  readonly request: Request;
  readonly surroundings: Surroundings;
  readonly versions: { readonly criu: string; readonly forkpoint: string };
  /** Members that block by now; whoever fails afterwards answers them. */
  readonly ready: Set<Member>;
  /** FIFO, relative to the control directory, of an asker that is no member. */
  readonly blockedAsker: string | null;
}

/** Looks at the program only: every finding, with nothing stopped and nothing written. */
export async function report(job: Job): Promise<Look> {
  const found = await look(job.surroundings.rootPid, {
    ignore: new Set([process.pid]),
    peers: () => job.link.peers(),
    policies: readPolicies(job.surroundings.rootPid),
  });
  return { ...found, findings: withStacks(found.findings, job.surroundings.controlDirectory) };
}

/**
 * Takes one checkpoint: looks, brings the members to a halt, dumps, rewrites, describes and publishes.
 * Whatever fails, the program goes on, nothing is left behind and a SupervisorError (or an error of the packages below) is thrown.
 */
export async function takeCheckpoint(job: Job, progress: Progress): Promise<Taken> {
  const started = performance.now();
  const { link, request, surroundings } = job;
  const before = await report(job);
  if (before.findings.length > 0) throw cannotCheckpoint(before.findings);
  const place = destinationOf(request, surroundings);
  await cleanBeside(place, surroundings);
  const destination = await openDestination(place, surroundings.identity.id);
  let stopped: readonly number[] = [];
  try {
    const captured = await capture(job, before, destination.temporary, {
      ...progress,
      halted: async () => {
        if (request.stop === true)
          stopped = before.tree.filter(({ state }) => state !== 'T').map(({ pid }) => pid);
      },
    });
    const done =
      request.compress === undefined ? captured : await compressed(job, destination.temporary, captured);
    link.givenUp.throwIfAborted();
    await publish(destination, { exchange: (a, b) => link.exchange(a, b), sync: request.sync !== false });
    const { dumped, frozenMs: frozen } = captured;
    return {
      image: destination.path,
      manifest: done.manifest,
      sizes: done.sizes,
      times: { total: performance.now() - started, dump: dumped.elapsedMs, frozen },
    };
  } catch (error) {
    if (stopped.length > 0) link.resume(stopped);
    await discard(destination);
    throw error;
  }
}

/** An image in a directory that is not published. */
export interface Captured {
  readonly manifest: Manifest;
  readonly sizes: Taken['sizes'];
  readonly dumped: Dumped;
  /** CRIU's own figure: how long the program stood still. */
  readonly frozenMs: number;
}

/**
 * Brings the members to a halt, dumps and makes an image of it in `directory`. `halted` is called while the program
 * stands still, right before the dump. `threshold` is the shortest run of pages that is linked.
 */
export async function capture(
  job: Job,
  before: Look,
  directory: string,
  progress: Progress & { halted?(): Promise<void> },
  threshold?: number,
): Promise<Captured> {
  const { link, request, surroundings } = job;
  const members = request.uncoordinated === true ? [] : membersOf(job, before);
  // Nobody is kept waiting by the search.
  const watched = before.watchesFiles ? watchedPaths(before.tree, surroundings.controlDirectory) : [];
  const policies = readPolicies(surroundings.rootPid);
  const sockets = await seeSockets(before.tree, () => link.peers(), policies);
  progress.prepared();
  await gather(link, {
    controlDirectory: surroundings.controlDirectory,
    members,
    announced: request.op === 'prepare' ? request.pid : null,
    ask: request.ask ?? randomBytes(8).toString('hex'),
    timeoutMs: request.timeoutMs ?? READY_MS,
    ready: job.ready,
  });
  const commands = new Map(before.tree.map(({ pid }) => [pid, commandOf(pid)]));
  const score = scoreOf(before.tree, surroundings.rootPid, surroundings.controlDirectory);
  await progress.halted?.();
  link.givenUp.throwIfAborted();
  const dumped = await dump(job, directory, { before, watched, sockets, policies });
  if (request.stop !== true) progress.resumed();
  // The program runs again; what is looked at from here on keeps nobody waiting.
  assertComplete(surroundings, directory, dumped);
  const frozen = frozenMs(directory);
  return {
    ...finishImage(job, directory, {
      members: [...job.ready],
      commands,
      score,
      taken: dumped.taken,
      ...(threshold !== undefined && { threshold }),
    }),
    dumped,
    frozenMs: frozen,
  };
}

/** Removes what a worker that was killed has left beside a destination. */
async function cleanBeside(place: string, { home, identity }: Surroundings): Promise<void> {
  const isOver = async (run: string): Promise<boolean | undefined> => {
    // Of this run there is only one worker at a time: this one.
    if (run === identity.id) return true;
    // Not by its state: a run that has told its end may still flatten the image that it left.
    return (await isUnattended(join(placesAt(home).runs, run))) ? true : undefined;
  };
  try {
    await cleanStale(dirname(place), isOver);
  } catch (error) {
    // No such directory yet; or one that openDestination will find fault with in better words.
    process.stderr.write(`Nothing was cleaned up beside ${place}: ${String(error)}\n`);
  }
}

function membersOf(job: Job, before: Look): Member[] {
  const alive = new Set(before.tree.filter(({ state }) => state !== 'Z').map(({ pid }) => pid));
  const members = findMembers(job.surroundings.controlDirectory, alive);
  // Who asked by the plain protocol blocks already, and cannot be asked again.
  return job.blockedAsker !== null ? members.filter(({ pid }) => pid !== job.request.pid) : members;
}

/** What a dump came to. */
export interface Dumped {
  readonly elapsedMs: number;
  readonly taken: { readonly wallMs: number; readonly monotonicNs: bigint };
  /** All processes of the pod when the dump had ended, and that moment in clock ticks since boot. */
  readonly processes: readonly ProcessFacts[];
  readonly ticks: number;
}

async function dump(
  job: Job,
  directory: string,
  seen: {
    readonly before: Look;
    readonly watched: readonly string[];
    readonly sockets: SocketsSeen;
    readonly policies: Policies;
  },
): Promise<Dumped> {
  const { link, request, surroundings } = job;
  const { before, sockets, policies } = seen;
  const args = dumpArguments({
    root: surroundings.rootPid,
    imageDir: directory,
    logName: 'dump.log',
    leave: request.stop === true ? 'stopped' : 'running',
    inotifyPaths: seen.watched,
    ...(await outsideSockets(before.tree, sockets, () => link.peers(), policies)),
  });
  const taken = { wallMs: Date.now(), monotonicNs: process.hrtime.bigint() };
  const result = await link.dump(Math.max(request.timeoutMs ?? 0, DUMP_MS), args);
  link.givenUp.throwIfAborted();
  if (result.status !== 0) throw dumpFailure(directory, result.status);
  return { elapsedMs: result.elapsedMs, taken, processes: readProcesses(), ticks: ticksNow() };
}

/** Throws when a process was there that is not in the image. */
function assertComplete({ rootPid }: Surroundings, directory: string, { processes, ticks }: Dumped): void {
  const { entries } = new ImageDirectory(openSource(directory)).require('pstree', 'pstree.img');
  const dumped = new Set(entries.map(({ message }) => message.pid));
  const missing = leftOut(processes, dumped, {
    root: rootPid,
    ignore: new Set([process.pid]),
    latestStart: ticks,
  });
  if (missing.length > 0) throw cannotCheckpoint(missing);
}

/** What is known of a fresh image, and how it is linked. */
interface ImageFacts extends Pick<
  Parameters<typeof describe>[1],
  'members' | 'commands' | 'score' | 'taken'
> {
  /** Shortest run of pages that is linked. */
  readonly threshold?: number;
}

/** Rewrites CRIU's files, and adds ours. The dump's log and statistics go: they are of no use to a restore. */
export function finishImage(
  job: Pick<Job, 'request' | 'surroundings' | 'versions' | 'ready' | 'blockedAsker'>,
  directory: string,
  facts: ImageFacts,
): { manifest: Manifest; sizes: Taken['sizes'] } {
  const { surroundings } = job;
  // Decoded once: what is changed in it is what is written.
  const image = new ImageDirectory(openSource(directory));
  const changed = rewrite(image, {
    ctlPath: surroundings.controlDirectory,
    policyOf: policyOf(readPolicies(surroundings.rootPid)),
    zombies: earlierZombies(surroundings.identity),
  });
  const lost = changed.notes.filter(({ severity }) => severity === 'lost');
  if (lost.length > 0)
    throw cannotCheckpoint(lost.map(({ code, message, pid, fd }) => lostFinding(code, message, pid, fd)));
  writeAnew(directory, changed.files);
  for (const name of ['dump.log', 'stats-dump', ...changed.unused])
    rmSync(join(directory, name), { force: true });
  const copied =
    job.request.link === false
      ? adoptInherited(directory, surroundings)
      : linkImage(directory, surroundings, facts.threshold, image.in(openSource(directory))).copied;
  const finished = image.in(openSource(directory));
  const summary = summarize(finished);
  const manifest = describe(directory, {
    ...facts,
    summary,
    slots: changed.slots,
    // A datagram socket is connected again by the name of the other end, which therefore has to be there.
    needed: changed.datagramPeers.filter((name) => name.startsWith('/')),
    surroundings,
    labels: job.request.labels ?? {},
    versions: job.versions,
  });
  const pids = summary.processes.flatMap(({ pid, threads }) => [pid, ...threads]);
  const plan = restorePlanOf(manifest, {
    pidBase: Math.max(...pids),
    owner: ownerOf(summary),
    locks: locksOf(finished, summary, changed.slots),
    blocked: [
      ...[...job.ready].map(({ pid }) => `members/${pid}/outcome`),
      ...(job.blockedAsker === null ? [] : [job.blockedAsker]),
    ],
    reads: readsOf(manifest.members, surroundings.controlDirectory),
    terminal: terminalFields(changed.terminal),
    hasIpcObjects: changed.hasIpcObjects,
    mapsCode: mapsCode(summary, surroundings.controlDirectory),
    parts: partsOf(directory),
    criu: ['--file-locks', ...(changed.datagramPeers.length > 0 ? ['--ext-unix-sk'] : [])],
    cwds: [...new Set(summary.processes.map(({ cwd }) => cwd).filter((cwd) => cwd !== undefined))],
  });
  writeFileSync(join(directory, 'manifest.json'), serializeManifest(manifest), { mode: 0o600 });
  writeFileSync(join(directory, 'restore.plan'), encodeRestorePlan(plan), { mode: 0o600 });
  writeFileSync(join(directory, 'restore'), restoreScript(process.env['FORKPOINT_LIB'] ?? ''), {
    mode: 0o700,
  });
  const pages = manifest.layers.reduce((sum, { size }) => sum + size, 0);
  return { manifest, sizes: { total: bytesOf(directory), pages, copied } };
}

/** Whether code is mapped from page files. */
function mapsCode({ processes }: ImageSummary, controlDirectory: string): boolean {
  const layers = join(controlDirectory, LAYERS, '/');
  return processes.some(({ areas }) =>
    areas.some(({ prot, path }) => (prot & PROT_EXEC) !== 0 && path?.startsWith(layers) === true),
  );
}

// New files rather than changes in place: the old ones may be hard links.
function writeAnew(directory: string, files: ReadonlyMap<string, Uint8Array>): void {
  for (const [name, bytes] of files) {
    rmSync(join(directory, name), { force: true });
    writeFileSync(join(directory, name), bytes, { mode: 0o600 });
  }
}

function terminalFields(terminal: TerminalSettings | null): number[] | null {
  if (terminal === null) return null;
  const { iflag, oflag, cflag, lflag, line, cc } = terminal;
  return [iflag, oflag, cflag, lflag, line, ...cc];
}

/** Compresses an image that is not published yet. Throws ERR_FORKPOINT_CODEC. */
async function compressed(
  { link, surroundings }: Job,
  directory: string,
  plain: Captured,
): Promise<{ manifest: Manifest; sizes: Taken['sizes'] }> {
  const addon = join(nativeDirectory(surroundings.home), 'codec.node');
  const manifest = await compressInPlace(directory, plain.manifest, { addon, signal: link.givenUp });
  const pages = manifest.layers.reduce((sum, { storedSize }) => sum + storedSize, 0);
  return { manifest, sizes: { total: bytesOf(directory), pages, copied: plain.sizes.copied } };
}

function ownerOf(summary: ImageSummary): { uid: number; gid: number } | null {
  const ids = summary.processes[0]?.credentials;
  return ids === undefined ? null : { uid: ids.uid, gid: ids.gid };
}

function partsOf(directory: string): { name: string; size: number }[] {
  return readdirSync(directory)
    .filter((name) => name.endsWith('.img'))
    .map((name) => ({ name, size: statSync(join(directory, name)).size }));
}

function bytesOf(directory: string): number {
  return readdirSync(directory, { recursive: true, encoding: 'utf8' })
    .map((name) => statSync(join(directory, name)))
    .reduce((sum, status) => sum + (status.isFile() ? status.size : 0), 0);
}

/** Returns the argument vector of a process; empty for a zombie. */
export function commandOf(pid: number): string[] {
  return (readText(`/proc/${pid}/cmdline`) ?? '').split('\0').slice(0, -1);
}
