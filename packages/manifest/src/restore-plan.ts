import { parseCommand } from './command.ts';
import { decodePlan, DEFAULT_PLAN_LIMITS, encodePlan, planBody, planHeader } from './plan.ts';
import type { PlanLimits, PlanRecord } from './plan.ts';
import { fieldAt, flagOf, integerOf, invalid, quoted, RecordSet } from './record-set.ts';
import { TCP_OPTIONS } from './slot.ts';
import type { Slot, TcpOption } from './slot.ts';

/** A point of a kernel clock. */
export interface ClockTime {
  readonly seconds: number;
  /** Below 1,000,000,000. */
  readonly nanoseconds: number;
}

/** A file that must be there for a restore; null means that this property does not count. */
export interface PlanFile {
  readonly path: string;
  readonly size: number | null;
  /** Nanoseconds since 1970 as decimal text: more than a double holds. */
  readonly mtimeNs: string | null;
}

/** A file lock that the program holds; one that somebody else holds as well would make CRIU wait for ever. */
export interface PlanLock {
  readonly path: string;
  readonly kind: 'flock' | 'range';
  readonly isExclusive: boolean;
  /** Bytes; a length of 0 reaches to the end of the file. */
  readonly start: number;
  readonly length: number;
}

/** A variable of the environment that the program has read while it started. */
export interface PlanRead {
  readonly name: string;
  /** FNV-1a of 32 bits of its value as hex, or `-` when it was not set. */
  readonly digest: string;
}

/** A file of the image itself: one that was cut short would be noticed by CRIU late, or not at all. */
export interface PlanPart {
  /** Name in the image directory. */
  readonly name: string;
  /** Bytes. */
  readonly size: number;
}

/** Everything the launcher needs to restore an image. */
export interface RestorePlan {
  readonly image: string;
  readonly origin: string;
  readonly name: string;
  readonly generation: number;
  /** Wall clock of the checkpoint, milliseconds since 1970. */
  readonly takenMs: number;
  readonly clock: { readonly monotonic: ClockTime; readonly boottime: ClockTime };
  /** Machine name as in uname(2), and what `launcher cpu` printed there. */
  readonly cpu: { readonly machine: string; readonly words: readonly string[] };
  readonly root: number;
  /** Ids of the first process: whoever restores the image is these in the pod. Null in images that do not say. */
  readonly owner: { readonly uid: number; readonly gid: number } | null;
  /** All process and thread ids. */
  readonly pids: readonly number[];
  readonly pidBase: number;
  /** Path at which the control directory is bound. */
  readonly controlDirectory: string;
  readonly members: readonly number[];
  readonly cwds: readonly string[];
  readonly command: readonly string[];
  readonly files: readonly PlanFile[];
  readonly parts: readonly PlanPart[];
  readonly slots: readonly Slot[];
  /** Page files that the image's memory is mapped from, by name in its `layers/`. */
  readonly layers: readonly { readonly name: string; readonly size: number }[];
  readonly locks: readonly PlanLock[];
  /** FIFOs at which somebody was blocked, relative to the control directory; each gets the outcome `restored`. */
  readonly blocked: readonly string[];
  readonly reads: readonly PlanRead[];
  /** Settings of the terminal that the program had: flags for input, output, control and local modes, line, characters. */
  readonly terminal: readonly number[] | null;
  /** Whether the image holds System V objects, for which CRIU needs the ipc preload. */
  readonly hasIpcObjects: boolean;
  /** Whether code is mapped from page files, so that the directory of runs must not be mounted noexec. */
  readonly mapsCode: boolean;
  /** Further arguments of `criu restore`. */
  readonly criu: readonly string[];
  /** Name in `cache/unpacked` under which a compressed image is found; null when it is not compressed. */
  readonly unpacked: string | null;
}

const VERSION = 1;

/** Encodes a restore plan; throws ERR_FORKPOINT_PLAN_INVALID for strings that contain NUL. */
export function encodeRestorePlan(plan: RestorePlan): Uint8Array {
  const { monotonic, boottime } = plan.clock;
  const clock = [monotonic.seconds, monotonic.nanoseconds, boottime.seconds, boottime.nanoseconds];
  const records: PlanRecord[] = [
    planHeader('restore', VERSION),
    { key: 'image', fields: [plan.image] },
    { key: 'origin', fields: [plan.origin] },
    { key: 'name', fields: [plan.name] },
    { key: 'generation', fields: [String(plan.generation)] },
    { key: 'taken', fields: [String(plan.takenMs)] },
    { key: 'clock', fields: clock.map(String) },
    { key: 'cpu', fields: [plan.cpu.machine, ...plan.cpu.words] },
    { key: 'root', fields: [String(plan.root)] },
    ...(plan.owner === null
      ? []
      : [{ key: 'owner', fields: [String(plan.owner.uid), String(plan.owner.gid)] }]),
    { key: 'pid', fields: plan.pids.map(String) },
    { key: 'pidbase', fields: [String(plan.pidBase)] },
    { key: 'ctl', fields: [plan.controlDirectory] },
    { key: 'member', fields: plan.members.map(String) },
    { key: 'cwd', fields: plan.cwds },
    { key: 'command', fields: [JSON.stringify(plan.command)] },
    ...plan.files.map((file) => ({
      key: 'file',
      fields: [file.path, file.size === null ? '-' : String(file.size), file.mtimeNs ?? '-'],
    })),
    ...plan.parts.map(({ name, size }) => ({ key: 'part', fields: [name, String(size)] })),
    ...plan.slots.map((slot) => ({ key: 'slot', fields: slotFields(slot) })),
    ...plan.layers.map(({ name, size }) => ({ key: 'layer', fields: [name, String(size)] })),
    ...plan.locks.map(({ path, kind, isExclusive, start, length }) => ({
      key: 'lock',
      fields: [path, kind, isExclusive ? '1' : '0', String(start), String(length)],
    })),
    { key: 'blocked', fields: plan.blocked },
    ...plan.reads.map(({ name, digest }) => ({ key: 'read', fields: [name, digest] })),
    ...(plan.terminal === null ? [] : [{ key: 'terminal', fields: plan.terminal.map(String) }]),
    { key: 'ipc', fields: [plan.hasIpcObjects ? '1' : '0'] },
    ...(plan.mapsCode ? [{ key: 'code', fields: ['1'] }] : []),
    { key: 'criu', fields: plan.criu },
    ...(plan.unpacked === null ? [] : [{ key: 'unpacked', fields: [plan.unpacked] }]),
  ];
  return encodePlan(records);
}

/** Decodes a restore plan; throws ERR_FORKPOINT_PLAN_INVALID. */
export function decodeRestorePlan(bytes: Uint8Array, limits: PlanLimits = DEFAULT_PLAN_LIMITS): RestorePlan {
  const set = new RecordSet(planBody(decodePlan(bytes, limits), 'restore', VERSION));
  const clock = set.fields('clock').map((text) => integerOf(text, 'clock'));
  const [monoS, monoNs, bootS, bootNs] = clock;
  if (monoS === undefined || monoNs === undefined || bootS === undefined || bootNs === undefined) {
    throw invalid('the plan record "clock" has fewer than 4 fields');
  }
  if (monoNs > 999_999_999 || bootNs > 999_999_999)
    throw invalid('the plan record "clock" has too many nanoseconds');
  const [machine, ...words] = set.fields('cpu');
  if (machine === undefined) throw invalid('the plan record "cpu" is empty');
  return {
    image: set.text('image'),
    origin: set.text('origin'),
    name: set.text('name'),
    generation: set.integer('generation'),
    takenMs: set.integer('taken'),
    clock: {
      monotonic: { seconds: monoS, nanoseconds: monoNs },
      boottime: { seconds: bootS, nanoseconds: bootNs },
    },
    cpu: { machine, words },
    root: set.integer('root'),
    owner: ownerOf(set.optional('owner')),
    pids: set.fields('pid').map((text) => integerOf(text, 'pid')),
    pidBase: set.integer('pidbase'),
    controlDirectory: set.text('ctl'),
    members: set.fields('member').map((text) => integerOf(text, 'member')),
    cwds: set.fields('cwd'),
    command: parseCommand(set.text('command')),
    files: set.all('file').map(fileOf),
    parts: set.all('part').map(partOf),
    slots: set.all('slot').map(slotOf),
    layers: set.all('layer').map(layerOf),
    locks: set.all('lock').map(lockOf),
    blocked: set.fields('blocked'),
    reads: set
      .all('read')
      .map((fields) => ({ name: fieldAt(fields, 0, 'read'), digest: fieldAt(fields, 1, 'read') })),
    terminal: set.optional('terminal')?.map((text) => integerOf(text, 'terminal')) ?? null,
    hasIpcObjects: set.flag('ipc'),
    mapsCode: set.optional('code') !== undefined,
    criu: set.fields('criu'),
    unpacked: unpackedOf(set.optional('unpacked')),
  };
}

function ownerOf(fields: readonly string[] | undefined): RestorePlan['owner'] {
  if (fields === undefined) return null;
  return {
    uid: integerOf(fieldAt(fields, 0, 'owner'), 'owner'),
    gid: integerOf(fieldAt(fields, 1, 'owner'), 'owner'),
  };
}

function layerOf(fields: readonly string[]): RestorePlan['layers'][number] {
  const name = fieldAt(fields, 0, 'layer');
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name))
    throw invalid(`the plan record "layer" has the name ${quoted(name)}`);
  return { name, size: integerOf(fieldAt(fields, 1, 'layer'), 'layer') };
}

function unpackedOf(fields: readonly string[] | undefined): string | null {
  if (fields === undefined) return null;
  const key = fieldAt(fields, 0, 'unpacked');
  if (/^[A-Za-z0-9][A-Za-z0-9._-]{0,100}$/.test(key)) return key;
  throw invalid(`the plan record "unpacked" has the name ${quoted(key)}`);
}

function lockOf(fields: readonly string[]): PlanLock {
  const kind = fieldAt(fields, 1, 'lock');
  if (kind !== 'flock' && kind !== 'range')
    throw invalid(`the plan record "lock" has the unknown kind ${quoted(kind)}`);
  return {
    path: fieldAt(fields, 0, 'lock'),
    kind,
    isExclusive: flagOf(fieldAt(fields, 2, 'lock'), 'lock'),
    start: integerOf(fieldAt(fields, 3, 'lock'), 'lock'),
    length: integerOf(fieldAt(fields, 4, 'lock'), 'lock'),
  };
}

function partOf(fields: readonly string[]): PlanPart {
  const name = fieldAt(fields, 0, 'part');
  if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$/.test(name))
    throw invalid(`the plan record "part" has the name ${quoted(name)}`);
  return { name, size: integerOf(fieldAt(fields, 1, 'part'), 'part') };
}

function fileOf(fields: readonly string[]): PlanFile {
  const size = fieldAt(fields, 1, 'file');
  const mtime = fieldAt(fields, 2, 'file');
  if (mtime !== '-' && !/^-?[0-9]{1,20}$/.test(mtime))
    throw invalid(`the plan record "file" has the mtime ${quoted(mtime)}`);
  return {
    path: fieldAt(fields, 0, 'file'),
    size: size === '-' ? null : integerOf(size, 'file'),
    mtimeNs: mtime === '-' ? null : mtime,
  };
}

function slotFields(slot: Slot): string[] {
  const base = [slot.id, slot.kind, slot.key, String(slot.flags), slot.isPollable ? '1' : '0'];
  if (slot.kind === 'tcp') {
    const { family, address, port, backlog, options } = slot;
    return [...base, String(family), address, String(port), String(backlog), options.join(',')];
  }
  if (slot.kind === 'unix') {
    return [...base, slot.path, String(slot.backlog), slot.mode.toString(8), slot.socketType];
  }
  if (slot.kind === 'file') return [...base, slot.path, String(slot.position)];
  return base;
}

function slotOf(fields: readonly string[]): Slot {
  const at = (index: number): string => fieldAt(fields, index, 'slot');
  const base = {
    id: at(0),
    key: at(2),
    flags: integerOf(at(3), 'slot'),
    isPollable: flagOf(at(4), 'slot'),
  };
  const kind = at(1);
  switch (kind) {
    case 'stdin':
    case 'stdout':
    case 'stderr':
      return { ...base, kind };
    case 'tcp': {
      const family = at(5);
      if (family !== '4' && family !== '6')
        throw invalid(`the plan record "slot" has the family ${quoted(family)}`);
      const options = at(9) === '' ? [] : at(9).split(',').map(optionOf);
      return {
        ...base,
        kind,
        family: family === '4' ? 4 : 6,
        address: at(6),
        port: integerOf(at(7), 'slot'),
        backlog: integerOf(at(8), 'slot'),
        options,
      };
    }
    case 'unix': {
      const mode = at(7);
      if (!/^[0-7]{1,6}$/.test(mode)) throw invalid(`the plan record "slot" has the mode ${quoted(mode)}`);
      const socketType = at(8);
      if (socketType !== 'stream' && socketType !== 'seqpacket')
        throw invalid(`the plan record "slot" has the socket type ${quoted(socketType)}`);
      return {
        ...base,
        kind,
        socketType,
        path: at(5),
        backlog: integerOf(at(6), 'slot'),
        mode: Number.parseInt(mode, 8),
      };
    }
    case 'file':
      return { ...base, kind, path: at(5), position: integerOf(at(6), 'slot') };
    default:
      throw invalid(`the plan record "slot" has the unknown kind ${quoted(kind)}`);
  }
}

function optionOf(text: string): TcpOption {
  const option = TCP_OPTIONS.find((candidate) => candidate === text);
  if (option === undefined) throw invalid(`the plan record "slot" has the unknown option ${quoted(text)}`);
  return option;
}
