import type { DescMessage, MessageShape } from '@bufbuild/protobuf';
import { apparmor_entrySchema } from './gen/apparmor_pb.ts';
import { bpfmap_data_entrySchema } from './gen/bpfmap-data_pb.ts';
import { bpfmap_file_entrySchema } from './gen/bpfmap-file_pb.ts';
import { cgroup_entrySchema } from './gen/cgroup_pb.ts';
import { core_entrySchema, task_kobj_ids_entrySchema } from './gen/core_pb.ts';
import { cpuinfo_entrySchema } from './gen/cpuinfo_pb.ts';
import { fdinfo_entrySchema, file_entrySchema } from './gen/fdinfo_pb.ts';
import { file_lock_entrySchema } from './gen/file-lock_pb.ts';
import { fs_entrySchema } from './gen/fs_pb.ts';
import { ghost_file_entrySchema } from './gen/ghost-file_pb.ts';
import { inventory_entrySchema } from './gen/inventory_pb.ts';
import { ipc_msg_entrySchema } from './gen/ipc-msg_pb.ts';
import { ipc_sem_entrySchema } from './gen/ipc-sem_pb.ts';
import { ipc_shm_entrySchema } from './gen/ipc-shm_pb.ts';
import { ipc_var_entrySchema } from './gen/ipc-var_pb.ts';
import { memfd_inode_entrySchema } from './gen/memfd_pb.ts';
import { mm_entrySchema } from './gen/mm_pb.ts';
import { mnt_entrySchema } from './gen/mnt_pb.ts';
import { net_device_entrySchema, netns_entrySchema } from './gen/netdev_pb.ts';
import { pidns_entrySchema } from './gen/pidns_pb.ts';
import { pipe_data_entrySchema } from './gen/pipe-data_pb.ts';
import { pstree_entrySchema } from './gen/pstree_pb.ts';
import { remap_file_path_entrySchema } from './gen/remap-file-path_pb.ts';
import { seccomp_entrySchema } from './gen/seccomp_pb.ts';
import { sk_packet_entrySchema } from './gen/sk-packet_pb.ts';
import { stats_entrySchema } from './gen/stats_pb.ts';
import { tcp_stream_entrySchema } from './gen/tcp-stream_pb.ts';
import { timens_entrySchema } from './gen/timens_pb.ts';
import { tty_data_entrySchema, tty_info_entrySchema } from './gen/tty_pb.ts';
import { userns_entrySchema } from './gen/userns_pb.ts';
import { utsns_entrySchema } from './gen/utsns_pb.ts';

/** First magic number of every image file but the inventory (CRIU images 1.1, criu/include/magic.h). */
export const COMMON_MAGIC = 0x54564319;
/** First magic number of service files: statistics, the inode cache. */
export const SERVICE_MAGIC = 0x55105940;
/** Magic number of pagemaps, of processes and of shared memory alike. */
export const PAGEMAP_MAGIC = 0x56084025;

/** What follows a message in its file, beside the next message. */
export type Payload =
  | 'none'
  /** Raw bytes up to the end of the file (ghost-file, with or without chunks). */
  | 'rest'
  /** Raw bytes whose length the message gives. */
  | 'counted';

interface KindDefinition<Schema extends DescMessage = DescMessage> {
  readonly name: RegExp;
  readonly magic: number;
  readonly schema: () => Schema;
  readonly payload: Payload;
}

function kind<Schema extends DescMessage>(
  name: RegExp,
  magic: number,
  schema: () => Schema,
  payload: Payload = 'none',
): KindDefinition<Schema> {
  return { name, magic, schema, payload };
}

/**
 * The kinds of image files that CRIU 4.x writes as messages: file name, second magic number and message type, after the
 * tables in criu/image-desc.c and criu/include/magic.h of CRIU 4.2.
 */
export const KINDS = {
  apparmor: kind(/^apparmor\.img$/, 0x59423047, apparmor_entrySchema),
  'bpfmap-data': kind(/^bpfmap-data\.img$/, 0x64324033, bpfmap_data_entrySchema, 'counted'),
  'bpfmap-file': kind(/^bpfmap-file\.img$/, 0x57506142, bpfmap_file_entrySchema),
  cgroup: kind(/^cgroup\.img$/, 0x59383330, cgroup_entrySchema),
  core: kind(/^core-\d+\.img$/, 0x55053847, core_entrySchema),
  cpuinfo: kind(/^cpuinfo\.img$/, 0x61404013, cpuinfo_entrySchema),
  fdinfo: kind(/^fdinfo-\d+\.img$/, 0x56213732, fdinfo_entrySchema),
  'fifo-data': kind(/^fifo-data\.img$/, 0x59333054, pipe_data_entrySchema, 'counted'),
  filelocks: kind(/^filelocks\.img$/, 0x54323616, file_lock_entrySchema),
  files: kind(/^files\.img$/, 0x56303138, file_entrySchema),
  fs: kind(/^fs-\d+\.img$/, 0x51403912, fs_entrySchema),
  'ghost-file': kind(/^ghost-file-[0-9a-f]+\.img$/, 0x52583605, ghost_file_entrySchema, 'rest'),
  ids: kind(/^ids-\d+\.img$/, 0x54432030, task_kobj_ids_entrySchema),
  inventory: kind(/^inventory\.img$/, 0x58313116, inventory_entrySchema),
  'ipcns-msg': kind(/^ipcns-msg-\d+\.img$/, 0x55453737, ipc_msg_entrySchema, 'counted'),
  'ipcns-sem': kind(/^ipcns-sem-\d+\.img$/, 0x59573019, ipc_sem_entrySchema, 'counted'),
  'ipcns-shm': kind(/^ipcns-shm-\d+\.img$/, 0x46283044, ipc_shm_entrySchema, 'counted'),
  'ipcns-var': kind(/^ipcns-var-\d+\.img$/, 0x53115007, ipc_var_entrySchema),
  memfd: kind(/^memfd\.img$/, 0x48453499, memfd_inode_entrySchema),
  mm: kind(/^mm-\d+\.img$/, 0x57492820, mm_entrySchema),
  mountpoints: kind(/^mountpoints-\d+\.img$/, 0x55563928, mnt_entrySchema),
  netdev: kind(/^netdev-\d+\.img$/, 0x57373951, net_device_entrySchema),
  netns: kind(/^netns-\d+\.img$/, 0x55933752, netns_entrySchema),
  pidns: kind(/^pidns-\d+\.img$/, 0x61157326, pidns_entrySchema),
  'pipes-data': kind(/^pipes-data\.img$/, 0x56453709, pipe_data_entrySchema, 'counted'),
  pstree: kind(/^pstree\.img$/, 0x50273030, pstree_entrySchema),
  'remap-fpath': kind(/^remap-fpath\.img$/, 0x59133954, remap_file_path_entrySchema),
  seccomp: kind(/^seccomp\.img$/, 0x64413049, seccomp_entrySchema),
  'sk-queues': kind(/^sk-queues\.img$/, 0x56264026, sk_packet_entrySchema, 'counted'),
  stats: kind(/^stats-[a-z]+$/, 0x57093306, stats_entrySchema),
  'tcp-stream': kind(/^tcp-stream-[0-9a-f]+\.img$/, 0x51465506, tcp_stream_entrySchema, 'counted'),
  timens: kind(/^timens-\d+\.img$/, 0x43114433, timens_entrySchema),
  'tty-data': kind(/^tty-data\.img$/, 0x59413026, tty_data_entrySchema),
  'tty-info': kind(/^tty-info\.img$/, 0x59453036, tty_info_entrySchema),
  userns: kind(/^userns-\d+\.img$/, 0x55474906, userns_entrySchema),
  utsns: kind(/^utsns-\d+\.img$/, 0x54473203, utsns_entrySchema),
};

/** Name of a kind of image file that consists of messages of one type. */
export type MessageKind = keyof typeof KINDS;

/** Message type of the entries of a kind. */
export type MessageOf<Kind extends MessageKind> = MessageShape<ReturnType<(typeof KINDS)[Kind]['schema']>>;

const PAGEMAP_NAME = /^pagemap-(?:shmem-)?\d+\.img$/;

/** Returns the kind of image file that a file of this name holds; `raw` when it is not one of messages. */
export function kindOf(name: string): MessageKind | 'pagemap' | 'raw' {
  if (PAGEMAP_NAME.test(name)) return 'pagemap';
  for (const [kind, definition] of Object.entries(KINDS)) {
    if (definition.name.test(name)) return kind as MessageKind; // a key of KINDS
  }
  return 'raw';
}

/** Returns the magic numbers that a file of the kind begins with: one for the inventory, else two. */
export function magicsOf(kind: MessageKind | 'pagemap'): number[] {
  if (kind === 'pagemap') return [COMMON_MAGIC, PAGEMAP_MAGIC];
  const { magic } = KINDS[kind];
  if (kind === 'inventory') return [magic];
  return [kind === 'stats' ? SERVICE_MAGIC : COMMON_MAGIC, magic];
}
