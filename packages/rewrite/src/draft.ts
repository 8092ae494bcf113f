import {
  encodeImage,
  type FileTable,
  FileTable as Table,
  ImageDirectory,
  ImageError,
  type ImageFile,
  type ImageSource,
  type fdinfo_entry,
  type file_entry,
} from '@forkpoint/image';
import type { DescriptorPlace, Note, Slot } from './types.ts';

/** A descriptor entry of an image with the processes that have it. */
export interface Descriptor {
  readonly entry: fdinfo_entry;
  /** Pids in the order of the process tree; several share a table after clone(CLONE_FILES). */
  readonly pids: readonly number[];
  readonly file: ImageFile;
}

/** An image being rewritten: values that the steps change in place, and what they report. */
export class Draft {
  readonly image: ImageDirectory;
  readonly slots: Slot[] = [];
  readonly notes: Note[] = [];
  /** All descriptors of all processes, in the order of the process tree. */
  readonly descriptors: readonly Descriptor[];
  /** Pids in the order of the process tree, the program's first process first. */
  readonly pids: readonly number[];
  readonly #changed = new Map<string, ImageFile>();

  constructor(source: ImageSource | ImageDirectory) {
    this.image = source instanceof ImageDirectory ? source : new ImageDirectory(source);
    this.pids = this.image.require('pstree', 'pstree.img').entries.map(({ message }) => message.pid);
    this.descriptors = this.#collectDescriptors();
  }

  /** Open file descriptions as they are now. */
  get table(): FileTable {
    return new Table(this.image);
  }

  /** Marks a file as changed. */
  touch(file: ImageFile): void {
    this.#changed.set(file.name, file);
  }

  /** Returns the bytes of the changed files by name. */
  encode(): Map<string, Uint8Array> {
    return new Map([...this.#changed].map(([name, file]) => [name, encodeImage(file)]));
  }

  /** Returns where a file description is open. */
  places(id: number): DescriptorPlace[] {
    return this.descriptors
      .filter(({ entry }) => entry.id === id)
      .flatMap(({ entry, pids }) => pids.map((pid) => ({ pid, fd: entry.fd })));
  }

  /** Returns an id that no file description has yet. */
  freeFileId(): number {
    const ids = this.image.entries('files', 'files.img').map(({ message }) => message.id);
    return ids.reduce((largest, id) => Math.max(largest, id), 0) + 1;
  }

  /** Puts another description in the place of the one with the same id, and tells the descriptors its type. */
  replace(file: file_entry): void {
    const files = this.image.require('files', 'files.img');
    const at = files.entries.findIndex(({ message }) => message.id === file.id);
    if (at < 0) files.entries.push({ message: file, payload: new Uint8Array(0) });
    else files.entries[at] = { message: file, payload: new Uint8Array(0) };
    this.touch(files);
    for (const descriptor of this.descriptors) {
      if (descriptor.entry.id !== file.id || descriptor.entry.type === file.type) continue;
      descriptor.entry.type = file.type;
      this.touch(descriptor.file);
    }
  }

  /** Returns a slot id that is still free: the given one, or with -2, -3 ... behind it. */
  uniqueId(wanted: string): string {
    const taken = new Set(this.slots.map(({ id }) => id));
    let id = wanted;
    for (let count = 2; taken.has(id); count++) id = `${wanted}-${count}`;
    return id;
  }

  #collectDescriptors(): Descriptor[] {
    const pidsOf = new Map<number, number[]>();
    for (const pid of this.pids) {
      const ids = this.image.entries('ids', `ids-${pid}.img`)[0]?.message;
      if (!ids) continue; // zombies have neither ids nor descriptors
      pidsOf.set(ids.filesId, [...(pidsOf.get(ids.filesId) ?? []), pid]);
    }
    const descriptors: Descriptor[] = [];
    for (const [filesId, pids] of pidsOf) {
      const file = this.image.find('fdinfo', `fdinfo-${filesId}.img`);
      for (const { message } of file?.entries ?? []) {
        if (file) descriptors.push({ entry: message, pids, file });
      }
    }
    return descriptors;
  }
}

/** Returns the pid of the program's first process. Throws ImageError for an image without processes. */
export function rootPid(draft: Draft): number {
  const [pid] = draft.pids;
  if (pid === undefined) {
    throw new ImageError('ERR_FORKPOINT_IMAGE_INVALID', 'pstree.img', 'the image has no process');
  }
  return pid;
}
