import { create } from '@bufbuild/protobuf';
import { file_entrySchema, type file_entry } from './gen/fdinfo_pb.ts';
import { fown_entrySchema, type fown_entry } from './gen/fown_pb.ts';
import { reg_file_entrySchema } from './gen/regfile_pb.ts';
import { type vma_entry, vma_entrySchema } from './gen/vma_pb.ts';
import { sk_opts_entrySchema } from './gen/sk-opts_pb.ts';
import { unix_sk_entrySchema } from './gen/sk-unix_pb.ts';
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
  return create(vma_entrySchema(), {
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
  return create(file_entrySchema(), {
    type: FILE_TYPES.file,
    id,
    reg: create(reg_file_entrySchema(), {
      id,
      flags,
      pos: 0n,
      fown: owner ?? create(fown_entrySchema(), { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }),
      name: path,
    }),
  });
}

/** Buffer sizes of a new socket (net.core.wmem_default). */
const BUFFER_BYTES = 212_992;

/** Returns an open file description of a unix socket without a name or peer. `ino` must be unique in the image. */
export function unixSocket(
  id: number,
  socket: { readonly ino: number; readonly type: number; readonly state: number; readonly flags: number },
  owner?: fown_entry,
): file_entry {
  const noLimit = { soSndTmoSec: 0n, soSndTmoUsec: 0n, soRcvTmoSec: 0n, soRcvTmoUsec: 0n };
  return create(file_entrySchema(), {
    type: FILE_TYPES.unix,
    id,
    usk: create(unix_sk_entrySchema(), {
      id,
      ...socket,
      uflags: 0,
      backlog: 0,
      peer: 0,
      fown: owner ?? create(fown_entrySchema(), { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }),
      opts: create(sk_opts_entrySchema(), { soSndbuf: BUFFER_BYTES, soRcvbuf: BUFFER_BYTES, ...noLimit }),
      name: new Uint8Array(0),
    }),
  });
}
