import {
  CheckFailure,
  dictionary,
  flag,
  integer,
  list,
  nullable,
  object,
  oneOf,
  plainObject,
  text,
} from './check.ts';
import type { Check } from './check.ts';
import { ManifestError } from './error.ts';
import { FORMAT_VERSION } from './manifest.ts';
import type { Manifest, ManifestSlot } from './manifest.ts';
import { TCP_OPTIONS } from './slot.ts';

/** Longest manifest text that is looked at, in UTF-16 units: 32 MiB. */
export const MAX_MANIFEST_LENGTH = 32 << 20;

const PATH_MAX = 4096;
/** PID_MAX_LIMIT of 64-bit kernels (include/linux/threads.h). */
const PID_MAX = 4_194_304;

const path = text(PATH_MAX, /^\//);
const word = text(256);
const id = text(64, /^[A-Za-z0-9][A-Za-z0-9._-]*$/);
const pid = integer(1, PID_MAX);
const count = integer(0);
const fdNumber = integer(0, 1 << 30);
const sha256 = nullable(text(64, /^[0-9a-f]{64}$/));
// One string of an argument vector: MAX_ARG_STRLEN is 128 KiB (include/uapi/linux/binfmts.h).
const command = list(text(131_072), 65_536);
const clock = object({ seconds: count, nanoseconds: integer(0, 999_999_999) });

const figure: Check<number> = (value, where) => {
  if (typeof value === 'number' && Number.isFinite(value)) return value;
  throw new CheckFailure(`${where} is not a number`);
};

const slotBase = {
  id: text(128, /^[A-Za-z0-9][A-Za-z0-9._:-]*$/),
  key: text(PATH_MAX),
  flags: integer(0, 0xffff_ffff),
  isPollable: flag,
  fds: list(object({ pid, fd: fdNumber }), 65_536),
};
const stdioSlot = object({ ...slotBase, kind: oneOf('stdin', 'stdout', 'stderr') });
const tcpSlot = object({
  ...slotBase,
  kind: oneOf('tcp'),
  family: oneOf(4, 6),
  address: text(64, /^[0-9a-fA-F:.]+(%[A-Za-z0-9._-]+)?$/),
  port: integer(1, 65_535),
  backlog: integer(0, 0xffff_ffff),
  options: list(oneOf(...TCP_OPTIONS), TCP_OPTIONS.length),
});
const unixSlot = object({
  ...slotBase,
  kind: oneOf('unix'),
  socketType: oneOf('stream', 'seqpacket'),
  path: text(PATH_MAX),
  backlog: integer(0, 0xffff_ffff),
  mode: integer(0, 0o7777),
});

const fileSlot = object({ ...slotBase, kind: oneOf('file'), path: text(PATH_MAX, /^\//), position: count });

const slot: Check<ManifestSlot> = (value, where) => {
  const kind = plainObject(value, where)['kind'];
  if (kind === 'tcp') return tcpSlot(value, where);
  if (kind === 'unix') return unixSlot(value, where);
  if (kind === 'file') return fileSlot(value, where);
  return stdioSlot(value, where);
};

const manifest: Check<Manifest> = object({
  formatVersion: oneOf(1, 2),
  id,
  parentId: nullable(id),
  generation: integer(0, 1_000_000_000),
  createdAt: text(32, /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,9})?Z$/),
  command,
  cwd: path,
  runtime: nullable(object({ name: word, version: nullable(word), path })),
  host: object({
    arch: text(64, /^[A-Za-z0-9_]+$/),
    cpu: list(text(64, /^[0-9a-fA-F]+$/), 1024),
    kernel: word,
    glibc: nullable(word),
  }),
  engine: object({ criu: word, forkpoint: word }),
  processes: list(
    object({ pid, parentPid: integer(0, PID_MAX), threads: list(pid, 1_000_000), command }),
    65_536,
  ),
  slots: list(slot, 65_536),
  clocks: object({ takenMs: count, monotonic: clock, boottime: clock }),
  files: list(
    object({
      path,
      size: nullable(count),
      mtimeNs: nullable(text(21, /^-?[0-9]{1,20}$/)),
      buildId: nullable(text(128, /^[0-9a-f]+$/)),
      sha256,
    }),
    262_144,
  ),
  layers: list(
    object({
      // A name with a slash, or dots alone, would lead out of the image.
      file: text(255, /^(layers\/)?[A-Za-z0-9_][A-Za-z0-9._-]*$/),
      size: count,
      pages: count,
      compression: nullable(oneOf('zstd')),
      storedSize: count,
      sha256,
    }),
    65_536,
  ),
  labels: dictionary(text(65_536), 1024, /^[^\s=\0]{1,256}$/),
  warmup: nullable(object({ elapsedMs: count })),
  score: nullable(dictionary(figure, 256, /^[A-Za-z]{1,64}$/)),
  reseed: flag,
  origin: object({ run: id, name: text(255) }),
  controlDirectory: path,
  members: list(pid, 65_536),
});

/**
 * Parses the text of `manifest.json`. Fields that are not known are dropped.
 * Throws ERR_FORKPOINT_MANIFEST_NEWER for a newer format and ERR_FORKPOINT_MANIFEST_INVALID, naming the field, for the rest.
 */
export function parseManifest(content: string): Manifest {
  if (content.length > MAX_MANIFEST_LENGTH)
    throw wrong(`it is longer than ${MAX_MANIFEST_LENGTH} characters`);
  let value: unknown;
  try {
    value = JSON.parse(content);
  } catch (cause) {
    throw wrong('it is not complete JSON', cause);
  }
  try {
    refuseNewer(plainObject(value, '')['formatVersion']);
    // Images of earlier versions have no score.
    const parsed = manifest({ score: null, ...withStoredSizes(plainObject(value, '')) }, '');
    checkProcesses(parsed);
    checkLayers(parsed);
    return parsed;
  } catch (error) {
    if (error instanceof CheckFailure) throw wrong(error.message);
    throw error;
  }
}

/** Returns the text of `manifest.json`, one field a line; throws ERR_FORKPOINT_MANIFEST_INVALID for what could not be read again. */
export function serializeManifest(value: Manifest): string {
  const content = `${JSON.stringify(value, null, 2)}\n`;
  parseManifest(content);
  return content;
}

function refuseNewer(version: unknown): void {
  if (typeof version !== 'number' || !Number.isSafeInteger(version) || version <= FORMAT_VERSION) return;
  throw new ManifestError(
    'ERR_FORKPOINT_MANIFEST_NEWER',
    `the image has format ${version}, and this forkpoint reads formats up to ${FORMAT_VERSION}`,
    { hint: 'Restore it with a newer forkpoint: `npm install forkpoint@latest`' },
  );
}

/** In format 1 every layer is stored as it is, and does not say so. */
function withStoredSizes(value: Record<string, unknown>): Record<string, unknown> {
  const { formatVersion, layers } = value;
  if (formatVersion !== 1 || !Array.isArray(layers)) return value;
  return {
    ...value,
    layers: layers.map((layer: unknown, index) => {
      const fields = plainObject(layer, `layers[${index}]`);
      return { ...fields, compression: null, storedSize: fields['size'] };
    }),
  };
}

function checkLayers(parsed: Manifest): void {
  const names = new Set(parsed.layers.map(({ file }) => file));
  if (names.size !== parsed.layers.length) throw new CheckFailure('layers has a file twice');
  for (const { file, size, storedSize, compression, sha256: digest } of parsed.layers) {
    if (compression !== null && digest === null)
      throw new CheckFailure(`layers has ${file} without a digest`);
    if (compression === null && storedSize !== size)
      throw new CheckFailure(`layers has ${file} with ${storedSize} stored bytes for ${size}`);
  }
}

function checkProcesses(parsed: Manifest): void {
  if (parsed.processes.length === 0) throw new CheckFailure('processes is empty');
  const seen = new Set<number>();
  for (const { pid: own } of parsed.processes) {
    if (seen.has(own)) throw new CheckFailure(`processes has the pid ${own} twice`);
    seen.add(own);
  }
  for (const member of parsed.members) {
    if (!seen.has(member))
      throw new CheckFailure(`members has the pid ${member}, which is no process of the image`);
  }
  const ids = new Set(parsed.slots.map((item) => item.id));
  if (ids.size !== parsed.slots.length) throw new CheckFailure('slots has an id twice');
}

function wrong(problem: string, cause?: unknown): ManifestError {
  return new ManifestError('ERR_FORKPOINT_MANIFEST_INVALID', `the manifest is not usable: ${problem}`, {
    hint: 'Take the checkpoint again',
    ...(cause === undefined ? {} : { cause }),
  });
}
