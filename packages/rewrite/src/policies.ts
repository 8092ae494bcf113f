import {
  type FileDescription,
  type FileTable,
  type file_entry,
  FILE_TYPES,
  regularFile,
  SOCK_DGRAM,
  SOCK_STREAM,
  TCP_ESTABLISHED,
  unixSocket,
} from '@forkpoint/image';
import type { Draft } from './draft.ts';
import { closeStream } from './outside.ts';
import { dropRemap, openState, pollWatch, putSlot, slotKey } from './slot-file.ts';
import type { Policy, PolicyOf } from './types.ts';

const TCP_CLOSE = 7;
const O_APPEND = 0o2000;
const O_DIRECTORY = 0o200000;
/** Inodes for sockets that are made here; the kernel counts its own from below. */
const FIRST_INODE = 0xf000_0000;

/** What was decided about the open file descriptions, by id. */
export type Decisions = ReadonlyMap<number, Policy>;

/**
 * Asks the policy about every open file description that is no slot yet and does what it says: closes, and makes slots
 * of files. Listening sockets are the next step's work, which gets the decisions.
 */
export function applyPolicies(draft: Draft, policyOf: PolicyOf | undefined): Decisions {
  const decisions = new Map<number, Policy>();
  if (policyOf === undefined) return decisions;
  const isWatched = pollWatch(draft);
  const table = draft.table;
  for (const file of table.byId.values()) {
    const fds = draft.places(file.id);
    const description = table.describeFile(file);
    if (fds.length === 0 || description.path?.startsWith('/fp-slot/') === true) continue;
    const policy = policyOf(withKind(description), fds);
    if (policy === undefined) continue;
    decisions.set(file.id, policy);
    const [place] = fds;
    if (policy.action === 'error') {
      draft.notes.push({
        code: 'policy-error',
        severity: 'lost',
        message: policy.reason ?? 'refused by a policy',
        ...place,
      });
    } else if (policy.action === 'close') {
      closeDescription(draft, table, file, isWatched(fds));
    } else if ((policy.action === 'slot' || policy.action === 'reopen') && (file.reg || file.fifo)) {
      slotFile(draft, table, { file, policy, isPollable: isWatched(fds) });
    }
  }
  return decisions;
}

/** A directory and a device are regular file entries to CRIU, and something else to a person. */
function withKind(description: FileDescription): FileDescription & { readonly sort: string } {
  const { kind, path = '', flags = 0 } = description;
  if (kind !== 'file') return { ...description, sort: kind };
  if ((flags & O_DIRECTORY) !== 0) return { ...description, sort: 'directory' };
  return {
    ...description,
    sort: path.startsWith('/dev/') && !path.startsWith('/dev/shm/') ? 'device' : 'file',
  };
}

/**
 * Puts something in the place of a description that behaves as closed. A file becomes /dev/null. A connection or pipe
 * becomes a stream whose other end is gone: reading comes to the end, writing fails with EPIPE. What only waits for others (a
 * listener, a UDP socket, an eventfd) becomes a datagram socket that nobody knows, and stays silent: an end of file there
 * would wake the program for ever.
 */
function closeDescription(draft: Draft, table: FileTable, file: file_entry, isPollable: boolean): void {
  const { flags, owner } = openState(table, file);
  if (file.reg && !isPollable) {
    draft.replace(regularFile(file.id, '/dev/null', flags & ~O_APPEND, owner));
    dropRemap(draft, file.id);
    return;
  }
  const isConnected = file.usk?.state === TCP_ESTABLISHED || file.isk?.state === TCP_ESTABLISHED;
  if (file.isk && isConnected) return; // CRIU closes the connections of TCP by itself, with --tcp-close.
  if (file.usk && isConnected && file.usk.type === SOCK_STREAM) {
    for (const other of table.byId.values()) if (other.usk?.peer === file.usk.ino) closeStream(other.usk);
    closeStream(file.usk);
    draft.replace(file);
    return;
  }
  const isEnded = file.type === FILE_TYPES.pipe || file.type === FILE_TYPES.fifo || file.reg !== undefined;
  const ino = FIRST_INODE + file.id;
  const state = isEnded ? TCP_ESTABLISHED : TCP_CLOSE;
  const made = unixSocket(file.id, { ino, type: isEnded ? SOCK_STREAM : SOCK_DGRAM, state, flags }, owner);
  if (isEnded && made.usk) closeStream(made.usk);
  draft.replace(made);
}

function slotFile(
  draft: Draft,
  table: FileTable,
  { file, policy, isPollable }: { file: file_entry; policy: Policy; isPollable: boolean },
): void {
  const path = table.pathOf(file.id);
  if (path === undefined) return;
  const name = path.slice(path.lastIndexOf('/') + 1).replaceAll(/[^\w.-]/g, '_');
  const id = draft.uniqueId(policy.slot ?? `file-${name}`);
  const { kind } = table.describeFile(file);
  const { flags } = openState(table, file);
  const position = Number(file.reg?.pos ?? 0n);
  draft.slots.push({
    kind: 'file',
    id,
    key: slotKey(id),
    flags,
    isPollable,
    fds: draft.places(file.id),
    was: kind,
    path,
    position,
  });
  putSlot(draft, file.id, slotKey(id), file);
}
