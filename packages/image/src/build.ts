import type { file_entry } from './gen/fdinfo_pb.ts';
import type { fown_entry } from './gen/fown_pb.ts';
import type { reg_file_entry } from './gen/regfile_pb.ts';
import type { vma_entry } from './gen/vma_pb.ts';
import type { sk_opts_entry } from './gen/sk-opts_pb.ts';
import type { unix_sk_entry } from './gen/sk-unix_pb.ts';
import { create } from './message.ts';
import { schema } from './schema.ts';
import { FILE_TYPES } from './vma.ts';

const fileOf = schema<file_entry>('file_entry');
const ownerOf = schema<fown_entry>('fown_entry');
const regularOf = schema<reg_file_entry>('reg_file_entry');
const areaOf = schema<vma_entry>('vma_entry');
const optionsOf = schema<sk_opts_entry>('sk_opts_entry');
const socketOf = schema<unix_sk_entry>('unix_sk_entry');

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
  return create(areaOf(), {
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
  return create(fileOf(), {
    type: FILE_TYPES.file,
    id,
    reg: create(regularOf(), {
      id,
      flags,
      pos: 0n,
      fown: owner ?? create(ownerOf(), { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }),
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
  return create(fileOf(), {
    type: FILE_TYPES.unix,
    id,
    usk: create(socketOf(), {
      id,
      ...socket,
      uflags: 0,
      backlog: 0,
      peer: 0,
      fown: owner ?? create(ownerOf(), { uid: 0, euid: 0, signum: 0, pidType: 0, pid: 0 }),
      opts: create(optionsOf(), { soSndbuf: BUFFER_BYTES, soRcvbuf: BUFFER_BYTES, ...noLimit }),
      name: new Uint8Array(0),
    }),
  });
}
