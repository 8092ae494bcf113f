import { type FileTable, type file_entry, type fown_entry, regularFile } from '@forkpoint/image';
import type { Draft } from './draft.ts';
import type { DescriptorPlace } from './types.ts';

/** Returns the key of a slot as `--inherit-fd` wants it. */
export function slotKey(id: string): string {
  return `fp-slot/${id}`;
}

/**
 * Puts a slot in the place of a file description: CRIU restores a regular file whose path without its first character is
 * the key of an inherited descriptor by taking that descriptor (inherited_fd in criu/files.c), so epoll registrations and
 * shared descriptors come back by themselves.
 */
export function putSlot(draft: Draft, id: number, key: string, original: file_entry): void {
  const { flags, owner } = openState(draft.table, original);
  draft.replace(regularFile(id, `/${key}`, flags, owner));
  dropRemap(draft, id);
}

/** A deleted file has an entry that makes CRIU create it again beside its path, which a slot does not have. */
export function dropRemap(draft: Draft, id: number): void {
  const file = draft.image.find('remap-fpath', 'remap-fpath.img');
  const entries = file?.entries.filter(({ message }) => message.origId !== id);
  if (!file || !entries || entries.length === file.entries.length) return;
  file.entries = entries;
  draft.touch(file);
}

/** Returns the flags of open(2) and the owner for signals of a file description, whatever its type. */
export function openState(
  table: FileTable,
  file: file_entry,
): { flags: number; owner: fown_entry | undefined } {
  // A FIFO's flags are in the file description that names it.
  const named = file.fifo && table.byId.get(file.fifo.regfId)?.reg;
  const simple = file.efd ?? file.tfd ?? file.sgfd ?? file.ify;
  const entry = file.tty ?? file.reg ?? file.pipe ?? file.usk ?? file.isk ?? named ?? simple;
  return { flags: entry?.flags ?? 0, owner: entry?.fown };
}

/** Tells for descriptors whether an eventpoll instance of the image watches one of them. */
export function pollWatch(draft: Draft): (places: readonly DescriptorPlace[]) => boolean {
  const watched = new Set<string>();
  for (const { message } of draft.image.entries('files', 'files.img')) {
    if (!message.epfd) continue;
    // The numbers belong to the process that CRIU met first; a child that inherited the instance has them as well.
    for (const { pid } of draft.places(message.id)) {
      for (const { tfd } of message.epfd.tfd) watched.add(`${pid} ${tfd}`);
    }
  }
  return (places) => places.some(({ pid, fd }) => watched.has(`${pid} ${fd}`));
}
