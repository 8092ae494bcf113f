import { randomBytes } from 'node:crypto';
import { existsSync, readdirSync, statSync } from 'node:fs';
import { machine, release } from 'node:os';
import { join } from 'node:path';
import type { FileSummary, ImageSummary } from '@forkpoint/image';
import { LAYERS } from '@forkpoint/linker';
import { FORMAT_VERSION } from '@forkpoint/manifest';
import type {
  Manifest,
  ManifestFile,
  ManifestLayer,
  ManifestProcess,
  ManifestSlot,
} from '@forkpoint/manifest';
import type { Member } from './members.ts';
import { readText } from './proc.ts';
import type { Surroundings } from './surroundings.ts';

/** What the worker knows about a fresh image beyond its files. */
export interface Facts {
  readonly summary: ImageSummary;
  readonly slots: readonly ManifestSlot[];
  /** Paths that have to exist at a restore, beside the files of the summary. */
  readonly needed: readonly string[];
  readonly members: readonly Member[];
  readonly surroundings: Surroundings;
  readonly labels: Readonly<Record<string, string>>;
  /** Wall clock and clocks of the pod when the dump began. */
  readonly taken: { readonly wallMs: number; readonly monotonicNs: bigint };
  readonly versions: { readonly criu: string; readonly forkpoint: string };
  /** Figures of the program, read before the dump. */
  readonly score: Readonly<Record<string, number>>;
  /** Argument vectors by pid, read before the dump. */
  readonly commands: ReadonlyMap<number, readonly string[]>;
}

/** Returns the manifest of the image in `directory`. */
export function describe(directory: string, facts: Facts): Manifest {
  const { summary, surroundings, members, taken } = facts;
  const { identity } = surroundings;
  const root = summary.processes[0];
  const command = facts.commands.get(surroundings.rootPid) ?? [];
  return {
    formatVersion: FORMAT_VERSION,
    id: randomBytes(6).toString('hex'),
    parentId: identity.imageId,
    generation: identity.generation,
    createdAt: new Date(taken.wallMs).toISOString(),
    command,
    cwd: root?.cwd ?? '/',
    runtime: runtimeOf(summary, members),
    host: { arch: machine(), cpu: surroundings.cpu, kernel: release(), glibc: glibcVersion() },
    engine: facts.versions,
    processes: summary.processes.map((process): ManifestProcess => ({
      pid: process.pid,
      parentPid: process.ppid === 0 ? 1 : process.ppid,
      threads: process.threads,
      command: process.state === 'zombie' ? [] : (facts.commands.get(process.pid) ?? [process.comm]),
    })),
    slots: facts.slots,
    clocks: clocksOf(facts),
    files: [
      ...filesOf(summary.files, surroundings.controlDirectory),
      ...facts.needed.map((path) => ({ path, size: null, mtimeNs: null, buildId: null, sha256: null })),
    ],
    layers: layersOf(directory),
    labels: facts.labels,
    warmup: { elapsedMs: Math.max(0, taken.wallMs - identity.startedAt) },
    score: facts.score,
    reseed: members.length > 0,
    origin: { run: identity.id, name: identity.name },
    controlDirectory: surroundings.controlDirectory,
    members: members.map(({ pid }) => pid),
  };
}

function runtimeOf(summary: ImageSummary, members: readonly Member[]): Manifest['runtime'] {
  for (const member of members) {
    const exe = summary.processes.find(({ pid }) => pid === member.pid)?.exe;
    if (exe !== undefined && member.info !== null) {
      return { name: member.info.name, version: member.info.version, path: exe };
    }
  }
  return null;
}

/**
 * The clocks at the moment of the dump. CRIU writes what it saw itself (criu/timens.c), which are the pod's clocks since
 * it runs in the pod; without that file the worker's own readings serve.
 */
function clocksOf({ summary, taken }: Facts): Manifest['clocks'] {
  const seconds = Number(taken.monotonicNs / 1_000_000_000n);
  const now = { seconds, nanoseconds: Number(taken.monotonicNs % 1_000_000_000n) };
  return {
    takenMs: taken.wallMs,
    monotonic: summary.clocks?.monotonic ?? now,
    boottime: summary.clocks?.boottime ?? now,
  };
}

// What a restore opens by its path. The control directory and the terminals are new in every pod, and a slot is no file at all.
function filesOf(files: readonly FileSummary[], controlDirectory: string): ManifestFile[] {
  const found: ManifestFile[] = [];
  for (const file of files) {
    if (file.path.startsWith('/fp-slot/') || file.path.startsWith(`${controlDirectory}/`)) continue;
    if (file.kind !== 'file' && file.kind !== 'directory') continue;
    if (!file.path.startsWith('/') || /^\/(proc|dev\/pts)\//.test(file.path)) continue;
    const status = statSync(file.path, { bigint: true, throwIfNoEntry: false });
    if (status === undefined) continue;
    const counts = file.kind === 'file' && (file.isMapped || !file.isWritable) && status.isFile();
    found.push({
      path: file.path,
      size: counts ? Number(status.size) : null,
      // A file that is only open may be touched or replaced; what is mapped is code and data the memory relies on.
      mtimeNs: counts && file.isMapped ? String(status.mtimeNs) : null,
      buildId: null,
      sha256: null,
    });
  }
  return found;
}

function layersOf(directory: string): ManifestLayer[] {
  const layers = existsSync(join(directory, LAYERS)) ? readdirSync(join(directory, LAYERS)) : [];
  return readdirSync(directory)
    .filter((name) => /^pages-\d+\.img$/.test(name))
    .concat(layers.map((name) => `${LAYERS}/${name}`))
    .map((file) => {
      const { size } = statSync(join(directory, file));
      return { file, size, pages: Math.ceil(size / 4096), compression: null, storedSize: size, sha256: null };
    });
}

function glibcVersion(): string | null {
  // process.report is slow (it walks all threads); the library's own name in the worker's mappings is not.
  const maps = readText('/proc/self/maps') ?? '';
  return /\/libc-(\d+\.\d+)\.so/.exec(maps)?.[1] ?? null;
}
