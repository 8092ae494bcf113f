import { type Draft } from './draft.ts';
import { isInside } from './inside.ts';
import { openState, pollWatch, putSlot, slotKey } from './slot-file.ts';
import { chooseStream, findStreams, type Stream } from './streams.ts';
import type { TerminalSettings } from './types.ts';

/**
 * Turns the standard streams of the program's first process into slots, whatever they are; every descriptor of every
 * process that shares the open file description follows. Descriptors 1 and 2 of one description are one slot, `stdout`.
 * A description shared by 0 and by 1 or 2 (a terminal, /dev/null) is split, because the next input and output may differ.
 *
 * A pipe, socketpair or terminal whose other end is inside the tree stays (`exec > >(tee log)`); then the process at the
 * other end is asked for the stream from outside. Other descriptions of the same pipe or terminal (a program that opened
 * /dev/stdout by name, Node.js that opens its terminal anew) become the slot as well.
 *
 * Returns the settings of the terminal among them; null when there is none.
 */
export function slotStdio(draft: Draft): TerminalSettings | null {
  const isWatched = pollWatch(draft);
  const table = draft.table;
  const streams = findStreams(draft, table);
  const terminal = settingsOf(draft, streams);
  const ids = new Map<Stream, number>();
  let free = draft.freeFileId();
  for (const stream of streams) {
    // The second stream of a description needs a description of its own.
    const isFirst = streams.find(({ original }) => original === stream.original) === stream;
    ids.set(stream, isFirst ? stream.original.id : free++);
  }
  for (const { entry, file } of draft.descriptors) {
    const description = table.byId.get(entry.id);
    const stream = description && chooseStream(table, streams, entry.fd, description);
    const id = stream && ids.get(stream);
    if (id === undefined || id === entry.id) continue;
    entry.id = id;
    draft.touch(file);
  }
  // A description without a descriptor may still be in flight over a unix socket.
  for (const file of table.byId.values()) {
    const stream = chooseStream(table, streams, -1, file);
    if (stream && stream.original !== file) putSlot(draft, file.id, slotKey(stream.kind), file);
  }
  for (const [stream, id] of ids) {
    const { kind, original } = stream;
    putSlot(draft, id, slotKey(kind), original);
    const fds = draft.places(id);
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
  return terminal;
}

/** A program that reads keys has switched its terminal to raw, and takes it for granted that it stays so. */
function settingsOf(draft: Draft, streams: readonly Stream[]): TerminalSettings | null {
  const ids = new Set(streams.map(({ original }) => original.tty?.ttyInfoId));
  for (const { message } of draft.image.entries('tty-info', 'tty-info.img')) {
    if (!ids.has(message.id) || message.termios === undefined) continue;
    const { cIflag, cOflag, cCflag, cLflag, cLine, cCc } = message.termios;
    return { iflag: cIflag, oflag: cOflag, cflag: cCflag, lflag: cLflag, line: cLine, cc: cCc };
  }
  return null;
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
