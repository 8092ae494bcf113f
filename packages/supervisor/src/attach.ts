import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { readdirSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';
import { dumpArguments } from '@forkpoint/engine';
import type { Manifest, Request, Resource } from '@forkpoint/manifest';
import { discard, newId, openDestination, placesAt, publish } from '@forkpoint/store';
import { commandOf, finishImage } from './checkpoint.ts';
import { cannotCheckpoint, dumpFailure } from './failures.ts';
import { destinationOf } from './destination.ts';
import { SupervisorError } from './error.ts';
import { readProcesses, readText, splitTree } from './proc.ts';
import type { ProcessFacts } from './proc.ts';
import { scoreOf } from './score.ts';
import type { Surroundings } from './surroundings.ts';

/** A program that forkpoint did not start, and where its image shall go. */
export interface Attachment {
  /** Of the program's first process, as the caller sees it. */
  readonly pid: number;
  readonly request: Pick<Request, 'to' | 'cwd' | 'labels' | 'sync' | 'stop'>;
  /** The data directory. */
  readonly home: string;
  /** How CRIU is called, and its version. */
  readonly criu: readonly string[];
  readonly versions: { readonly criu: string; readonly forkpoint: string };
  /** What `launcher cpu` printed. */
  readonly cpu: readonly string[];
  /** Longest time for the dump in milliseconds. */
  readonly timeoutMs: number;
}

/** The image of a program that forkpoint did not start. */
export interface Attached {
  readonly image: string;
  readonly manifest: Manifest;
  readonly sizes: { readonly total: number; readonly pages: number };
}

/** How long CRIU has for letting the program go before it is killed, in milliseconds. */
const LAST_RESORT_MS = 20_000;

/** What the program lacks because it was started without forkpoint. */
const WAYS_OUT: Readonly<Record<string, string>> = {
  io_uring: 'the kernel keeps requests that CRIU cannot read; under `forkpoint run` Node does without',
};

/**
 * Takes an image of a program that lives outside of any pod, without its cooperation. Needs root: outside of a pod the
 * kernel lets only the initial user namespace's root see what CRIU has to read. Whatever fails, the program goes on.
 * Throws a SupervisorError with a hint that holds the `forkpoint run` line for this program.
 */
export async function attach(attachment: Attachment): Promise<Attached> {
  const { pid, request } = attachment;
  const all = readProcesses();
  const root = all.find((process) => process.pid === pid);
  const command = commandOf(pid);
  if (root === undefined || root.state === 'Z') throw refused(`there is no process ${pid}`);
  if (command.length === 0) throw refused(`process ${pid} is a thread of the kernel`);
  const hint = runLine(command);
  const { tree } = splitTree(all, pid);
  if (process.getuid?.() !== 0)
    throw refused('only root can take an image of a program that forkpoint did not start', hint);
  const findings = tree.flatMap(obstaclesOf);
  if (findings.length > 0) {
    const { message, resources } = cannotCheckpoint(findings);
    throw new SupervisorError('ERR_FORKPOINT_CANNOT_CHECKPOINT', message, { hint, resources });
  }
  const surroundings = surroundingsOf(attachment, root, command);
  const destination = await openDestination(
    destinationOf(fullRequest(request, pid), surroundings),
    surroundings.identity.id,
  );
  try {
    const commands = new Map(tree.map((process) => [process.pid, commandOf(process.pid)]));
    const score = scoreOf(tree, pid, surroundings.controlDirectory);
    const taken = { wallMs: Date.now(), monotonicNs: process.hrtime.bigint() };
    const args = dumpArguments({
      root: pid,
      imageDir: destination.temporary,
      logName: 'dump.log',
      leave: 'running',
    });
    const status = await runCriu([...attachment.criu, 'dump', ...args], attachment.timeoutMs);
    if (status !== 0) throw withHint(dumpFailure(destination.temporary, status), hint);
    const job = {
      request: fullRequest(request, pid),
      surroundings,
      versions: attachment.versions,
      ready: new Set<never>(),
      blockedAsker: null,
    };
    const { manifest, sizes } = finishImage(job, destination.temporary, {
      members: [],
      commands,
      score,
      taken,
    });
    await publish(destination, {
      exchange: () => Promise.reject(new Error('an image lies there already')),
      sync: request.sync !== false,
    });
    if (request.stop === true) for (const { pid: one } of tree) end(one);
    return { image: destination.path, manifest, sizes };
  } catch (error) {
    await discard(destination);
    throw error;
  }
}

function fullRequest(request: Attachment['request'], pid: number): Request {
  // The pages stay in CRIU's files: mapping them needs the shim, which this program has not loaded.
  return { v: 1, op: 'checkpoint', pid, ...request, link: false, uncoordinated: true };
}

function surroundingsOf(
  attachment: Attachment,
  root: ProcessFacts,
  command: readonly string[],
): Surroundings {
  const ageMs = Number(readText('/proc/uptime')?.split(' ')[0]) * 1000 - root.startTime * 10;
  const name = basename(command[0] ?? '').replaceAll(/[^A-Za-z0-9._-]/g, '-') || 'program';
  return {
    home: attachment.home,
    runDirectory: '',
    controlDirectory: placesAt(attachment.home).pod,
    rootPid: root.pid,
    cpu: attachment.cpu,
    identity: {
      id: newId(),
      name,
      image: null,
      imageId: null,
      parentId: null,
      generation: 0,
      to: null,
      toCwd: null,
      startedAt: Date.now() - Math.max(0, ageMs),
    },
  };
}

/** What CRIU would only fail on in words of its own. */
function obstaclesOf({ pid, state }: ProcessFacts): Resource[] {
  if (state === 'Z') return [];
  const found: Resource[] = [];
  const tracer = /^TracerPid:\s*([1-9]\d*)$/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1];
  if (tracer !== undefined)
    found.push({ pid, kind: 'traced', what: `process ${pid} is traced by process ${tracer}` });
  const inner = /^NSpid:\t\d+\t/m.test(readText(`/proc/${pid}/status`) ?? '');
  if (inner)
    found.push({ pid, kind: 'namespace', what: `process ${pid} lives in a container or a pod of its own` });
  const uids = /^Uid:\t(\d+)/m.exec(readText(`/proc/${pid}/status`) ?? '')?.[1];
  if (uids !== undefined && uids !== '0')
    found.push({
      pid,
      kind: 'user',
      what: `process ${pid} belongs to user ${uids}, and a restore as root gives it no such user`,
    });
  for (const [fd, target] of descriptorsOf(pid)) {
    const name = /^anon_inode:\[(.*)\]$/.exec(target)?.[1] ?? '';
    if (WAYS_OUT[name] !== undefined)
      found.push({
        pid,
        fd,
        kind: name,
        what: `descriptor ${fd} of process ${pid} is an ${name}: ${WAYS_OUT[name]}`,
      });
  }
  return found;
}

function descriptorsOf(pid: number): [number, string][] {
  const directory = `/proc/${pid}/fd`;
  try {
    return readdirSync(directory).map((fd) => [Number(fd), readlinkSync(join(directory, fd))]);
  } catch {
    // It ends just now; the dump will tell.
    return [];
  }
}

async function runCriu(argv: readonly string[], timeoutMs: number): Promise<number | 'timeout'> {
  return await new Promise((resolve, reject) => {
    // A shell, because a signal that is ignored stays so behind exec.
    const child = spawn('sh', ['-c', 'trap "" XFSZ; exec "$@"', 'sh', ...argv], { stdio: 'ignore' });
    let isLate = false;
    let last: NodeJS.Timeout | undefined;
    const timer = setTimeout(() => {
      isLate = true;
      last = giveUp(child);
    }, timeoutMs);
    child.once('error', reject);
    child.once('exit', (code) => {
      clearTimeout(timer);
      clearTimeout(last);
      resolve(isLate ? 'timeout' : (code ?? 1));
    });
  });
}

/**
 * Has CRIU fail at its next write to the image, upon which it lets the program go. Killed, it could leave its code in the
 * program; that is the last resort, for which the timer is returned.
 */
function giveUp(child: ChildProcess): NodeJS.Timeout {
  const kill = (): void => void child.kill('SIGKILL');
  const limiter = spawn('prlimit', ['--pid', String(child.pid), '--fsize=0:0'], { stdio: 'ignore' });
  // The timer ends what could not be limited.
  limiter.once('error', (error) => process.stderr.write(`CRIU is not limited: ${error.message}\n`));
  return setTimeout(kill, LAST_RESORT_MS);
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGKILL');
  } catch {
    // It has ended by itself.
  }
}

function refused(message: string, hint?: string): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_CANNOT_CHECKPOINT', message, { hint });
}

function withHint(error: SupervisorError, hint: string): SupervisorError {
  return new SupervisorError(error.code, error.message, { hint, resources: error.resources, cause: error });
}

function runLine(command: readonly string[]): string {
  const words = command.map((word) =>
    /^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`,
  );
  return `start it under forkpoint, then any user can checkpoint it: forkpoint run -- ${words.join(' ')}`;
}
