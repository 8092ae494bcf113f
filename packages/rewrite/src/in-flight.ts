import { pipeOf, unixName } from '@forkpoint/image';
import type { Draft } from './draft.ts';

/**
 * Drops the bytes in flight that must not come back: those of FIFOs in the control directory (requests and answers of
 * the run that was checkpointed) and of pipes and FIFOs that have become slots. All others keep theirs.
 */
export function dropInFlight(draft: Draft, ctlPath: string | undefined): void {
  const table = draft.table;
  const kept = new Set<number>();
  const dropped = new Set<number>();
  for (const file of table.byId.values()) {
    const pipe = pipeOf(file);
    if (pipe === undefined) continue;
    const path = table.pathOf(file.id);
    const isControl = ctlPath !== undefined && path?.startsWith(`${ctlPath.replace(/\/+$/, '')}/`) === true;
    (isControl ? dropped : kept).add(pipe);
  }
  for (const kind of ['pipes-data', 'fifo-data'] as const) {
    const file = draft.image.find(kind, `${kind}.img`);
    if (!file) continue;
    const entries = file.entries.filter(
      ({ message }) => kept.has(message.pipeId) && !dropped.has(message.pipeId),
    );
    if (entries.length === file.entries.length) continue;
    file.entries = entries;
    draft.touch(file);
  }
}

/** The socket at which a parent waits for its children's lines; packages/core/src/family.ts names it. */
const FORK_SOCKET = /(^|\/)fork-[0-9a-f]{12}\.sock$/;
/** What is kept of what a closed connection had received. CRIU puts it into a new socket, and hangs where that is full. */
const KEPT_BYTES = 65_536;
const KEPT_PACKETS = 64;

/**
 * Drops what lines between a parent and its children had received, which belongs to the original: a clone would take a
 * message for its own. Of what other connections to the outside had received, which are closed in the clone, it keeps the
 * first 64 KB. Must run while the sockets still have their peers.
 */
export function dropReceived(draft: Draft, outside: ReadonlySet<number>): void {
  const queues = draft.image.find('sk-queues', 'sk-queues.img');
  if (!queues) return;
  const sockets = [...draft.table.byId.values()].flatMap(({ id, usk }) => (usk ? [{ id, usk }] : []));
  const nameOf = new Map(sockets.map(({ usk }) => [usk.ino, unixName(usk.name) ?? '']));
  const lines = new Set(
    sockets
      .filter(({ usk }) => [usk.ino, usk.peer].some((ino) => FORK_SOCKET.test(nameOf.get(ino) ?? '')))
      .map(({ id }) => id),
  );
  const kept = new Map<number, { bytes: number; packets: number }>();
  const entries = queues.entries.filter(({ message: { idFor, length } }) => {
    if (lines.has(idFor)) return false;
    if (!outside.has(idFor)) return true;
    const so = kept.get(idFor) ?? { bytes: 0, packets: 0 };
    if (so.bytes + length > KEPT_BYTES || so.packets === KEPT_PACKETS) return false;
    kept.set(idFor, { bytes: so.bytes + length, packets: so.packets + 1 });
    return true;
  });
  if (entries.length === queues.entries.length) return;
  queues.entries = entries;
  draft.touch(queues);
}
