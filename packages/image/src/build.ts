import { create } from '@bufbuild/protobuf';
import { file_entrySchema, type file_entry } from './gen/fdinfo_pb.ts';
import { fown_entrySchema, type fown_entry } from './gen/fown_pb.ts';
import { reg_file_entrySchema } from './gen/regfile_pb.ts';
import { type vma_entry, vma_entrySchema } from './gen/vma_pb.ts';
import { FILE_TYPES } from './vma.ts';

/** Fields of a memory area that may be changed. */
export type AreaChanges = Partial<
  Pick<vma_entry, 'start' | 'end' | 'pgoff' | 'shmid' | 'flags' | 'status' | 'madv' | 'fdflags'>
>;

/** Returns a copy of a memory area with some of its fields changed; fields that are not set stay so. */
export function changedArea(area: vma_entry, changes: AreaChanges): vma_entry {
  const { start, end, pgoff, shmid, prot, flags, status, fd } = area;
  const optional = {
    ...(Object.hasOwn(area, 'madv') ? { madv: area.madv } : {}),
    ...(Object.hasOwn(area, 'fdflags') ? { fdflags: area.fdflags } : {}),
  };
  return create(vma_entrySchema, {
    start,
    end,
    pgoff,
    shmid,
    prot,
    flags,
    status,
    fd,
    ...optional,
    ...changes,
  });
}

/** Returns an open file description of a regular file at its start, without size, mode or build id to be compared. */
export function regularFile(id: number, path: string, flags: number, owner?: fown_entry): file_entry {
  return create(file_entrySchema, {
    type: FILE_TYPES.file,
    id,
    reg: create(reg_file_entrySchema, {
      id,
      flags,
      pos: 0n,
      fown: owner ?? create(fown_entrySchema, { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }),
      name: path,
    }),
  });
}
