import { FILE_TYPES, type FileTable, type file_entry, pipeOf } from '@forkpoint/image';
import type { Draft } from './draft.ts';

const ACCESS_MODE = 3;
/** Flag of a unix socket outside the dumped tree (USK_EXTERN in criu/sk-unix.c). */
const UNIX_EXTERNAL = 1;

const SLOTTABLE: ReadonlySet<number> = new Set([
  FILE_TYPES.file,
  FILE_TYPES.pipe,
  FILE_TYPES.fifo,
  FILE_TYPES.inet,
  FILE_TYPES.unix,
  FILE_TYPES.tty,
  FILE_TYPES.external,
]);

/** Tells whether a standard stream of this type can come from outside; an eventfd or memfd is the program's own. */
export function isSlottable(file: file_entry): boolean {
  return SLOTTABLE.has(file.type);
}

/** Tells whether the other end of a pipe, unix socket or terminal is inside the dumped tree. */
export function isInside(draft: Draft, table: FileTable, file: file_entry): boolean {
  return isMaster(table, file) || otherEnds(draft, table, file).length > 0;
}

/** Returns the descriptions of the other end of a pipe, unix socket or terminal that are inside the dumped tree. */
export function otherEnds(draft: Draft, table: FileTable, file: file_entry): file_entry[] {
  if (file.usk) {
    const { peer } = file.usk;
    return others(table, file).filter(({ usk }) => usk?.ino === peer && (usk.uflags & UNIX_EXTERNAL) === 0);
  }
  if (file.tty) {
    return others(table, file).filter((other) => sameTerminal(draft, file, other) && isMaster(table, other));
  }
  const pipe = pipeOf(file);
  if (pipe === undefined) return [];
  const access = accessOf(table, file);
  return others(table, file).filter((other) => pipeOf(other) === pipe && accessOf(table, other) !== access);
}

/** Tells whether two descriptions are of one pipe (in the same direction) or one terminal. */
export function sameObject(one: file_entry, other: file_entry): boolean {
  if (one.pipe && other.pipe) {
    return (
      one.pipe.pipeId === other.pipe.pipeId &&
      (one.pipe.flags & ACCESS_MODE) === (other.pipe.flags & ACCESS_MODE)
    );
  }
  return one.tty !== undefined && other.tty !== undefined && one.tty.ttyInfoId === other.tty.ttyInfoId;
}

function others(table: FileTable, file: file_entry): file_entry[] {
  return [...table.byId.values()].filter((other) => other.id !== file.id);
}

function accessOf(table: FileTable, file: file_entry): number {
  const flags = file.pipe?.flags ?? table.byId.get(file.fifo?.regfId ?? -1)?.reg?.flags ?? 0;
  return flags & ACCESS_MODE;
}

/** The two ends of a pseudoterminal have entries of their own in tty-info.img, with the same index. */
function sameTerminal(draft: Draft, one: file_entry, other: file_entry): boolean {
  if (!other.tty) return false;
  const index = terminalIndex(draft, one);
  return index !== undefined && index === terminalIndex(draft, other);
}

function terminalIndex(draft: Draft, file: file_entry): number | undefined {
  const info = draft.image
    .entries('tty-info', 'tty-info.img')
    .find(({ message }) => message.id === file.tty?.ttyInfoId);
  return info?.message.pty?.index;
}

function isMaster(table: FileTable, file: file_entry): boolean {
  return table.byId.get(file.tty?.regfId ?? -1)?.reg?.name.endsWith('/ptmx') ?? false;
}
