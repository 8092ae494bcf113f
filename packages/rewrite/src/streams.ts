import type { FileTable, file_entry } from '@forkpoint/image';
import { type Draft, rootPid } from './draft.ts';
import { isInside, isSlottable, otherEnds, sameObject } from './inside.ts';
import { openState } from './slot-file.ts';
import type { StdioSlot } from './types.ts';

const KINDS = ['stdin', 'stdout', 'stderr'] as const;
const ACCESS_MODE = 3;

/** A standard stream of the program, and the file description that it is now. */
export interface Stream {
  readonly kind: StdioSlot['kind'];
  readonly original: file_entry;
}

/** Returns the standard streams that come from outside the program, in the order of their numbers. */
export function findStreams(draft: Draft, table: FileTable): Stream[] {
  const root = rootPid(draft);
  const own = draft.descriptors.filter(({ pids }) => pids.includes(root));
  const streams: Stream[] = [];
  for (const [fd, kind] of KINDS.entries()) {
    const file = table.byId.get(own.find(({ entry }) => entry.fd === fd)?.entry.id ?? -1);
    if (!file || !isSlottable(file)) continue;
    const original = isInside(draft, table, file) ? outsideStream(draft, table, fd, file) : file;
    // Output and errors on one description share the slot of the output, but nothing shares that of the input.
    const isShared =
      fd === 2 && streams.some((other) => other.kind === 'stdout' && other.original === original);
    if (original && !isShared) streams.push({ kind, original });
  }
  return streams;
}

/**
 * Chooses the stream that descriptor `fd` of a file description belongs to; undefined when it belongs to none. On the
 * description of a stream it stays there, unless it is an input on the description of an output or the other way
 * round. On another description of the same pipe or terminal the number decides, then what it is open for.
 */
export function chooseStream(
  table: FileTable,
  streams: readonly Stream[],
  fd: number,
  file: file_entry,
): Stream | undefined {
  const own = streams.filter(({ original }) => original === file);
  const same = streams.filter(({ original }) => original === file || sameObject(original, file));
  const ofNumber = (number: number): Stream | undefined => same.find(({ kind }) => kind === KINDS[number]);
  const natural = ofNumber(fd) ?? (fd === 2 ? ofNumber(1) : undefined);
  const [first] = own;
  if (first) {
    const isOther = natural && (natural.kind === 'stdin') !== (first.kind === 'stdin');
    return natural && (isOther || own.includes(natural)) ? natural : first;
  }
  const isInput = (openState(table, file).flags & ACCESS_MODE) === 0;
  return natural ?? same.find(({ kind }) => (kind === 'stdin') === isInput) ?? same[0];
}

/** Finds the stream from outside that stands behind one that the program has redirected to a process of its own. */
function outsideStream(
  draft: Draft,
  table: FileTable,
  fd: number,
  inside: file_entry,
): file_entry | undefined {
  const pid = rootPid(draft);
  draft.notes.push({
    code: 'stdio-inside',
    severity: 'kept',
    message: `descriptor ${fd} of process ${pid} is a ${table.describeFile(inside).kind} inside the program and stays`,
    pid,
    fd,
  });
  // An input without a writer in the tree may as well be at its end, so it is not looked for in other processes.
  if (fd === 0) return undefined;
  const ends = new Set(otherEnds(draft, table, inside).map(({ id }) => id));
  const readers = new Set(
    draft.descriptors.filter(({ entry }) => ends.has(entry.id)).flatMap(({ pids }) => pids),
  );
  for (const { entry, pids } of draft.descriptors) {
    const file = table.byId.get(entry.id);
    if (entry.fd !== fd || !pids.some((reader) => readers.has(reader))) continue;
    if (file && isSlottable(file) && !isInside(draft, table, file)) return file;
  }
  return undefined;
}
