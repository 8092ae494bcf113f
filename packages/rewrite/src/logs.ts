import type { reg_file_entry } from '@forkpoint/image';
import type { Draft } from './draft.ts';
import type { Decisions } from './policies.ts';

const ACCESS_MODE = 3;

/** Optional fields of a file that CRIU compares at the restore (validate_file in criu/files-reg.c). */
const COMPARED = ['size', 'mode', 'checksum', 'checksumConfig', 'checksumParameter'] as const;

/**
 * Takes size, mode, build id and checksum from the regular files that the program has open for writing: a log goes on
 * growing after the checkpoint, and CRIU refuses a file of another size. Files open for reading keep them, so that a
 * changed library or program is noticed.
 */
export function relaxWritableFiles(draft: Draft, decisions: Decisions = new Map()): void {
  const files = draft.image.find('files', 'files.img');
  for (const { message } of files?.entries ?? []) {
    if (!files || !message.reg || (message.reg.flags & ACCESS_MODE) === 0) continue;
    if (decisions.get(message.id)?.action === 'ignore') continue;
    if (relax(message.reg)) draft.touch(files);
  }
}

/**
 * Takes the mode from the page files of earlier images that the program has mapped. They are ours, and have names in several
 * images: whoever opens one image to others with chmod changes the mode of all of them. Their size stays.
 */
export function relaxLayers(draft: Draft, ctlPath: string | undefined): void {
  if (ctlPath === undefined) return;
  const layers = `${ctlPath.replace(/\/+$/, '')}/layers/`;
  const files = draft.image.find('files', 'files.img');
  for (const { message } of files?.entries ?? []) {
    if (!files || message.reg?.name.startsWith(layers) !== true || !Object.hasOwn(message.reg, 'mode'))
      continue;
    Reflect.deleteProperty(message.reg, 'mode');
    draft.touch(files);
  }
}

function relax(file: reg_file_entry): boolean {
  const present = COMPARED.filter((field) => Object.hasOwn(file, field));
  // An optional field of a proto2 message is absent when the object has no such property of its own.
  for (const field of present) Reflect.deleteProperty(file, field);
  const hadBuildId = file.buildId.length > 0;
  file.buildId = [];
  return present.length > 0 || hadBuildId;
}
