import type { FileTable, file_entry } from '@forkpoint/image';
import { type Descriptor, type Draft, rootPid } from './draft.ts';
import { isInside, isSlottable, sameObject } from './inside.ts';
import { openState, pollWatch, putSlot, slotKey } from './slot-file.ts';
import type { StdioSlot } from './types.ts';

const KINDS = ['stdin', 'stdout', 'stderr'] as const;
const ACCESS_MODE = 3;

/** A file description that becomes a standard stream, with the descriptors that follow it. */
interface Stream {
  readonly kind: StdioSlot['kind'];
  readonly original: file_entry;
  readonly followers: readonly Descriptor[];
}

/**
 * Turns the standard streams of the program's first process into slots, whatever they are; every descriptor of every
 * process that shares the open file description follows. Descriptors 1 and 2 of one description are one slot, `stdout`.
 * A description shared by 0 and by 1 or 2 (a terminal, /dev/null) is split, because the next input and output may differ.
 *
 * A pipe, socketpair or terminal whose other end is inside the tree stays (`exec > >(tee log)`); then the same number in
 * the other processes is looked at, where the stream from outside may be. Other descriptions of the same pipe or
 * terminal (a program that opened /dev/stdout by name) become the slot as well.
 */
export function slotStdio(draft: Draft): void {
  const isWatched = pollWatch(draft);
  const table = draft.table;
  const streams = findStreams(draft, table);
  const siblings = findSiblings(table, streams);
  const ids = new Map(streams.map((stream) => [stream, placeStream(draft, stream, streams)]));
  for (const { file, stream } of siblings) putSlot(draft, file.id, slotKey(stream.kind), file);
  // Where a description is split, all descriptors have to be in their places before they are listed.
  for (const [stream, id] of ids) {
    const { kind, original } = stream;
    const others = siblings.filter((sibling) => sibling.stream === stream).map(({ file }) => file.id);
    const fds = [id, ...others].flatMap((item) => draft.places(item));
    const path = table.pathOf(original.id);
    draft.slots.push({
      id: kind,
      kind,
      key: slotKey(kind),
      flags: openState(table, original).flags,
      isPollable: isWatched(fds),
      fds,
      was: table.describeFile(original).kind,
      ...(path !== undefined && { wasPath: path }),
    });
  }
  noteTerminals(draft);
}

function findStreams(draft: Draft, table: FileTable): Stream[] {
  const root = rootPid(draft);
  const own = draft.descriptors.filter(({ pids }) => pids.includes(root));
  const found: { kind: StdioSlot['kind']; fd: number; original: file_entry }[] = [];
  for (const [fd, kind] of KINDS.entries()) {
    const file = table.byId.get(own.find(({ entry }) => entry.fd === fd)?.entry.id ?? -1);
    if (!file || !isSlottable(file)) continue;
    const original = isInside(draft, table, file) ? outsideStream(draft, table, fd, file, root) : file;
    // Two on one description share the slot of the lower number, but never the input.
    const isShared = fd === 2 && found.some((other) => other.fd === 1 && other.original === original);
    if (original && !isShared) found.push({ kind, fd, original });
  }
  const kinds = found.map(({ fd }) => fd);
  return found.map(({ kind, fd, original }) => ({
    kind,
    original,
    followers: draft.descriptors.filter(
      ({ entry }) => entry.id === original.id && streamFor(entry.fd, original, found, kinds) === fd,
    ),
  }));
}

/** Chooses the stream that a descriptor follows among those made from its description. */
function streamFor(
  fd: number,
  original: file_entry,
  found: readonly { fd: number; original: file_entry }[],
  kinds: readonly number[],
): number | undefined {
  const mine = found.filter((stream) => stream.original === original).map((stream) => stream.fd);
  if (mine.includes(fd)) return fd;
  // 2 without a stream of its own goes where 1 goes; a shell's saved terminal goes with the input.
  if (fd === 2 && kinds.includes(1) && mine.includes(1)) return 1;
  return mine[0];
}

/** Finds the stream from outside that stands behind one that the program has redirected to itself. */
function outsideStream(
  draft: Draft,
  table: FileTable,
  fd: number,
  inside: file_entry,
  root: number,
): file_entry | undefined {
  draft.notes.push({
    code: 'stdio-inside',
    severity: 'kept',
    message: `descriptor ${fd} of process ${root} is a ${table.describeFile(inside).kind} inside the program and stays`,
    pid: root,
    fd,
  });
  // An input without a writer in the tree may as well be at its end, so it is not looked for in other processes.
  if (fd === 0) return undefined;
  for (const { entry } of draft.descriptors) {
    const file = table.byId.get(entry.id);
    if (entry.fd !== fd || !file || !isSlottable(file) || isInside(draft, table, file)) continue;
    return file;
  }
  return undefined;
}

/** Finds the other descriptions of the pipes and terminals that become streams, each with the stream it fits best. */
function findSiblings(table: FileTable, streams: readonly Stream[]): { file: file_entry; stream: Stream }[] {
  const siblings: { file: file_entry; stream: Stream }[] = [];
  for (const file of table.byId.values()) {
    if (streams.some(({ original }) => original === file)) continue;
    const same = streams.filter(({ original }) => sameObject(original, file));
    const access = openState(table, file).flags & ACCESS_MODE;
    const fits = same.find(({ kind }) => (access === 0) === (kind === 'stdin')) ?? same[0];
    if (fits) siblings.push({ file, stream: fits });
  }
  return siblings;
}

/** Makes the slot of a stream and moves its descriptors there; the second stream of a description gets a new id. */
function placeStream(draft: Draft, stream: Stream, streams: readonly Stream[]): number {
  const { kind, original, followers } = stream;
  const isFirst = streams.find((other) => other.original === original) === stream;
  const id = isFirst ? original.id : draft.freeFileId();
  for (const { entry, file } of followers) {
    if (entry.id === id) continue;
    entry.id = id;
    draft.touch(file);
  }
  putSlot(draft, id, slotKey(kind), original);
  return id;
}

/** Says which terminals CRIU has to restore by itself; without their other end it can only do so on a terminal. */
function noteTerminals(draft: Draft): void {
  const table = draft.table;
  for (const file of table.byId.values()) {
    if (!file.tty || isInside(draft, table, file)) continue;
    const [place] = draft.places(file.id);
    if (!place) continue;
    draft.notes.push({
      code: 'terminal-kept',
      severity: 'kept',
      message: `descriptor ${place.fd} of process ${place.pid} is a terminal that is no standard stream`,
      ...place,
    });
  }
}
