import { randomBytes } from 'node:crypto';
import { existsSync, rmSync, statSync, statfsSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { lastLine, runCommand } from './command.ts';
import type { CommandResult } from './command.ts';
import { checkCriu, criuVersion, hasFeature, isAtLeast, MINIMUM_CRIU } from './criu.ts';
import { kernelRows } from './doctor-kernel.ts';
import { row } from './doctor-row.ts';
import type { DoctorRow } from './doctor-row.ts';
import { EngineError, errorText } from './error.ts';
import { readEngine } from './setup.ts';

/** Where to look. */
export interface DoctorOptions {
  /** The data directory; it need not exist. */
  readonly home: string;
  /** Holds `launcher`, `shim.so` and `reseed.node`. */
  readonly nativeDir: string;
}

const MINIMUM_NODE = '20.19';
/** An image of a small server takes some 60 MiB. */
const MINIMUM_FREE_BYTES = 512 << 20;
const CALL_TIMEOUT_MS = 20_000;
const SETUP_HINT = 'run `forkpoint setup`';
/** A container that covers parts of /proc, or shows them read-only, forbids a pod to have a /proc of its own. */
const UNMASK =
  'start the container with its /proc uncovered: --security-opt unmask=ALL (podman) or systempaths=unconfined (Docker)';
/** What `launcher probe` may report, and what to do when it fails. */
const PROBE_HINTS: Readonly<Record<string, string>> = {
  userns: 'see the row "user namespaces"',
  mount: UNMASK,
  timens: 'use a kernel with CONFIG_TIME_NS',
  pidfd_getfd: 'use Linux 5.6 or newer, without a seccomp filter that forbids pidfd_getfd',
  ptrace: 'set kernel.yama.ptrace_scope to 1 or less',
  kcmp: 'use a kernel with CONFIG_KCMP, without a seccomp filter that forbids kcmp',
  ns_last_pid: UNMASK,
};
const COUNT_RINGS =
  'setTimeout(() => { const fs = require("fs"); let n = 0;' +
  ' for (const fd of fs.readdirSync("/proc/self/fd")) try {' +
  ' if (fs.readlinkSync("/proc/self/fd/" + fd).includes("io_uring")) n++ } catch {}' +
  ' console.log("rings " + n) }, 1)';

/**
 * Looks at everything that forkpoint needs of this machine and returns one row for each, in a fixed order. Never throws
 * because of what it finds: a check that cannot be made is a row that is not well.
 */
export async function doctor(options: DoctorOptions): Promise<DoctorRow[]> {
  const groups: [string, () => DoctorRow[] | Promise<DoctorRow[]>][] = [
    ['kernel', kernelRows],
    ['node', () => [nodeVersion()]],
    ['engine', async () => await engineRows(options.home)],
    [
      'data directory',
      async () => [
        await executable(options.home),
        privacy(options.home),
        freeSpace(options.home),
        fileSystem(options.home),
      ],
    ],
    ['launcher', async () => await launcherRows(options.nativeDir)],
    ['preload', async () => await preloadRows(options.nativeDir)],
  ];
  const rows: DoctorRow[] = [];
  for (const [name, look] of groups) {
    try {
      rows.push(...(await look()));
    } catch (error) {
      rows.push(row(name, false, `cannot be looked at: ${errorText(error)}`, 'report this as a bug'));
    }
  }
  return rows;
}

function nodeVersion(): DoctorRow {
  const version = process.versions.node;
  return row('node', isAtLeast(version, MINIMUM_NODE), version, `install Node.js ${MINIMUM_NODE} or newer`);
}

async function engineRows(home: string): Promise<DoctorRow[]> {
  try {
    const plan = readEngine(home);
    const version = await criuVersion(plan.criu);
    const { verdict, reason } = await checkCriu(plan.criu);
    // CRIU's feature of this name is a trial of pidfd_open and pidfd_getfd (criu/kerndat.c).
    const isUsable = await hasFeature(plan.criu, 'pidfd_store');
    return [
      row('criu', isAtLeast(version, MINIMUM_CRIU), `${version}, ${plan.criu.at(-1) ?? ''}`, SETUP_HINT),
      row(
        'criu check',
        verdict === 'good',
        reason === '' ? 'looks good' : reason,
        'see the rows about the kernel',
      ),
      row('pidfd_getfd', isUsable, isUsable ? 'usable' : 'refused', PROBE_HINTS['pidfd_getfd']),
    ];
  } catch (error) {
    if (!(error instanceof EngineError)) throw error;
    const hint = error.hint ?? SETUP_HINT;
    return [
      row('criu', false, error.message, hint),
      row('criu check', false, 'not made, because CRIU cannot be started', hint),
      row('pidfd_getfd', false, 'not tried, because CRIU cannot be started', hint),
    ];
  }
}

/** Returns the directory itself or the nearest one above that exists. */
function existing(path: string): string {
  return existsSync(path) || dirname(path) === path ? path : existing(dirname(path));
}

/** Programs are started from the data directory: CRIU's loader, and an image's own `restore`. */
async function executable(home: string): Promise<DoctorRow> {
  const name = 'data directory';
  const directory = existing(home);
  const script = join(directory, `.forkpoint-doctor-${randomBytes(6).toString('hex')}`);
  const hint = 'set FORKPOINT_HOME to a directory of yours on a file system that is not mounted noexec';
  try {
    writeFileSync(script, '#!/bin/sh\nexit 0\n', { mode: 0o700, flag: 'wx' });
    const result = await runCommand([script], { timeoutMs: CALL_TIMEOUT_MS });
    return row(
      name,
      result.exitCode === 0,
      result.exitCode === 0 ? home : `${home}: ${lastLine(result)}`,
      hint,
    );
  } catch (error) {
    return row(name, false, `${directory} cannot be written to: ${errorText(error)}`, hint);
  } finally {
    rmSync(script, { force: true });
  }
}

function privacy(home: string): DoctorRow {
  const name = 'privacy';
  if (!existsSync(home))
    return row(name, true, 'the data directory is made at the first use, for its owner only');
  const { mode, uid } = statSync(home);
  if (uid !== process.getuid?.()) {
    return row(
      name,
      false,
      `${home} belongs to user ${uid}`,
      'set FORKPOINT_HOME to a directory of your own',
    );
  }
  const isPrivate = (mode & 0o022) === 0;
  return row(
    name,
    isPrivate,
    isPrivate ? 'only you may write to it' : `others may write to ${home}`,
    `chmod 700 ${home}`,
  );
}

function freeSpace(home: string): DoctorRow {
  const { bavail, bsize } = statfsSync(existing(home));
  const free = bavail * bsize;
  return row(
    'free space',
    free >= MINIMUM_FREE_BYTES,
    `${Math.floor(free / (1 << 20))} MiB`,
    'make room, or set FORKPOINT_HOME to a larger disk',
  );
}

/** Types of file systems on other machines, as statfs(2) numbers them. */
const NETWORK_FILE_SYSTEMS: Readonly<Record<number, string>> = {
  0x6969: 'NFS',
  0x517b: 'SMB',
  0xfe534d42: 'SMB',
  0xff534d42: 'CIFS',
  0x01021997: '9P',
  0x00c36400: 'Ceph',
};

/** Clones read their memory from the data directory page by page, and its FIFOs join processes of one machine only. */
function fileSystem(home: string): DoctorRow {
  const name = NETWORK_FILE_SYSTEMS[statfsSync(existing(home)).type >>> 0];
  return row(
    'file system',
    name === undefined,
    name === undefined ? 'local' : `${home} lies on another machine (${name})`,
    'set FORKPOINT_HOME to a directory on a disk of this machine',
  );
}

async function launcherRows(nativeDir: string): Promise<DoctorRow[]> {
  const path = join(nativeDir, 'launcher');
  if (!existsSync(path)) return [row('launcher', false, `${path} is missing`, SETUP_HINT)];
  const result = await runCommand([path, 'probe'], { timeoutMs: CALL_TIMEOUT_MS });
  const rows = parseProbe(result.stdout);
  if (rows.length > 0) return [row('launcher', true, path), ...rows];
  // A launcher that has no probes still has to start.
  const cpu = await runCommand([path, 'cpu'], { timeoutMs: CALL_TIMEOUT_MS });
  const detail = cpu.exitCode === 0 ? path : `${path}: ${lastLine(result)}`;
  return [row('launcher', cpu.exitCode === 0, detail, SETUP_HINT)];
}

/** Turns the lines `name ok` and `name reason` of `launcher probe` into rows; at most 64. */
export function parseProbe(text: string): DoctorRow[] {
  const lines = text.split('\n').slice(0, 64);
  return lines.flatMap((line) => {
    const [, name = '', answer = ''] = /^([a-z0-9_]{1,32}) (.{1,300})$/.exec(line) ?? [];
    if (name === '') return [];
    const hint = PROBE_HINTS[name] ?? 'see the rows about the kernel';
    return [row(`pod: ${name.replaceAll('_', ' ')}`, answer === 'ok', answer, hint)];
  });
}

/** Loads the shim into a small program and into this Node, and looks whether Node still gets an io_uring. */
async function preloadRows(nativeDir: string): Promise<DoctorRow[]> {
  const path = join(nativeDir, 'shim.so');
  const addon = join(nativeDir, 'reseed.node');
  const missing = [path, addon].find((file) => !existsSync(file));
  if (missing !== undefined) return [row('preload', false, `${missing} is missing`, SETUP_HINT)];
  const env = { ...process.env, LD_PRELOAD: path, NODE_OPTIONS: '', LC_ALL: 'C' };
  const load = async (...argv: string[]): Promise<CommandResult> =>
    await runCommand(argv, { env, timeoutMs: CALL_TIMEOUT_MS });
  // The dynamic loader does not fail on a preload that it cannot use: it says so on standard error and goes on.
  const small = await load('/bin/true');
  const node = await load(process.execPath, '-e', `require(${JSON.stringify(addon)}); ${COUNT_RINGS}`);
  const broken = [small, node].find((result) => result.exitCode !== 0 || result.stderr.includes(path));
  const hint = 'run `forkpoint setup --force`';
  if (broken !== undefined) return [row('preload', false, `cannot be loaded: ${lastLine(broken)}`, hint)];
  const isClean = node.stdout.trim() === 'rings 0';
  const detail = isClean ? 'io_uring is refused' : `a program still gets an io_uring (${node.stdout.trim()})`;
  return [row('preload', isClean, detail, hint)];
}
