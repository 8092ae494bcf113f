import { unpackedKey } from './packed.ts';
import type { Manifest } from './manifest.ts';
import type { PlanLock, PlanPart, PlanRead, RestorePlan } from './restore-plan.ts';

/** What a restore plan holds beyond the manifest. */
export interface RestorePlanExtra {
  /** Where new pids start after the restore; above every pid of the image. */
  readonly pidBase: number;
  /** Ids of the first process, when they are known. */
  readonly owner?: RestorePlan['owner'];
  readonly locks: readonly PlanLock[];
  /** The image's own files that CRIU reads. */
  readonly parts: readonly PlanPart[];
  /** FIFOs at which somebody was blocked, relative to the control directory. */
  readonly blocked: readonly string[];
  /** Variables that the program has read while it started. */
  readonly reads: readonly PlanRead[];
  /** Settings of the terminal that the program had. */
  readonly terminal: readonly number[] | null;
  /** Whether the image holds System V objects. */
  readonly hasIpcObjects: boolean;
  /** Whether code is mapped from page files; false when absent. */
  readonly mapsCode?: boolean;
  /** Further arguments of `criu restore`. */
  readonly criu: readonly string[];
  /** Working directories that must exist; by default the one in the manifest. */
  readonly cwds?: readonly string[];
}

/** Returns the restore plan of an image; throws a RangeError when the manifest has no process. */
export function restorePlanOf(manifest: Manifest, extra: RestorePlanExtra): RestorePlan {
  const root = manifest.processes[0];
  if (root === undefined) throw new RangeError('a manifest without processes has no restore plan');
  const pids = new Set(manifest.processes.flatMap((process) => [process.pid, ...process.threads]));
  return {
    image: manifest.id,
    origin: manifest.origin.run,
    name: manifest.origin.name,
    generation: manifest.generation,
    takenMs: manifest.clocks.takenMs,
    clock: { monotonic: manifest.clocks.monotonic, boottime: manifest.clocks.boottime },
    cpu: { machine: manifest.host.arch, words: manifest.host.cpu },
    root: root.pid,
    owner: extra.owner ?? null,
    pids: [...pids].sort((a, b) => a - b),
    pidBase: extra.pidBase,
    controlDirectory: manifest.controlDirectory,
    members: manifest.members,
    cwds: extra.cwds ?? [manifest.cwd],
    command: manifest.command,
    files: manifest.files.map(({ path, size, mtimeNs }) => ({ path, size, mtimeNs })),
    slots: manifest.slots.map(({ fds: _fds, ...slot }) => slot),
    layers: manifest.layers
      .filter(({ file }) => file.startsWith('layers/'))
      .map(({ file, size }) => ({ name: file.slice('layers/'.length), size })),
    parts: extra.parts,
    locks: extra.locks,
    blocked: extra.blocked,
    reads: extra.reads,
    terminal: extra.terminal,
    hasIpcObjects: extra.hasIpcObjects,
    mapsCode: extra.mapsCode ?? false,
    criu: extra.criu,
    unpacked: unpackedKey(manifest),
  };
}
