import type { Message } from '@bufbuild/protobuf';
import type { apparmor_entry } from './gen/apparmor_pb.ts';
import type { bpfmap_data_entry } from './gen/bpfmap-data_pb.ts';
import type { bpfmap_file_entry } from './gen/bpfmap-file_pb.ts';
import type { cgroup_entry } from './gen/cgroup_pb.ts';
import type { core_entry, task_kobj_ids_entry } from './gen/core_pb.ts';
import type { cpuinfo_entry } from './gen/cpuinfo_pb.ts';
import type { fdinfo_entry, file_entry } from './gen/fdinfo_pb.ts';
import type { file_lock_entry } from './gen/file-lock_pb.ts';
import type { fs_entry } from './gen/fs_pb.ts';
import type { ghost_file_entry } from './gen/ghost-file_pb.ts';
import type { inventory_entry } from './gen/inventory_pb.ts';
import type { ipc_msg_entry } from './gen/ipc-msg_pb.ts';
import type { ipc_sem_entry } from './gen/ipc-sem_pb.ts';
import type { ipc_shm_entry } from './gen/ipc-shm_pb.ts';
import type { ipc_var_entry } from './gen/ipc-var_pb.ts';
import type { memfd_inode_entry } from './gen/memfd_pb.ts';
import type { mm_entry } from './gen/mm_pb.ts';
import type { mnt_entry } from './gen/mnt_pb.ts';
import type { net_device_entry, netns_entry } from './gen/netdev_pb.ts';
import type { pidns_entry } from './gen/pidns_pb.ts';
import type { pipe_data_entry } from './gen/pipe-data_pb.ts';
import type { pstree_entry } from './gen/pstree_pb.ts';
import type { remap_file_path_entry } from './gen/remap-file-path_pb.ts';
import type { seccomp_entry } from './gen/seccomp_pb.ts';
import type { sk_packet_entry } from './gen/sk-packet_pb.ts';
import type { stats_entry } from './gen/stats_pb.ts';
import type { tcp_stream_entry } from './gen/tcp-stream_pb.ts';
import type { timens_entry } from './gen/timens_pb.ts';
import type { tty_data_entry, tty_info_entry } from './gen/tty_pb.ts';
import type { userns_entry } from './gen/userns_pb.ts';
import type { utsns_entry } from './gen/utsns_pb.ts';
import { schema } from './schema.ts';
import type { Schema } from './schema.ts';

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

interface KindDefinition<Type extends Message = Message> {
  readonly name: RegExp;
  readonly magic: number;
  readonly schema: () => Schema<Type>;
  readonly payload: Payload;
}

/** A kind of file, named as its type of messages is. */
function kind<Type extends Message>(
  name: RegExp,
  magic: number,
  typeName: Type['$typeName'],
  payload: Payload = 'none',
): KindDefinition<Type> {
  return { name, magic, schema: schema<Type>(typeName), payload };
}

/**
 * The kinds of image files that CRIU 4.x writes as messages: file name, second magic number and message type, after the
 * tables in criu/image-desc.c and criu/include/magic.h of CRIU 4.2.
 */
export const KINDS = {
  apparmor: kind<apparmor_entry>(/^apparmor\.img$/, 0x59423047, 'apparmor_entry'),
  'bpfmap-data': kind<bpfmap_data_entry>(/^bpfmap-data\.img$/, 0x64324033, 'bpfmap_data_entry', 'counted'),
  'bpfmap-file': kind<bpfmap_file_entry>(/^bpfmap-file\.img$/, 0x57506142, 'bpfmap_file_entry'),
  cgroup: kind<cgroup_entry>(/^cgroup\.img$/, 0x59383330, 'cgroup_entry'),
  core: kind<core_entry>(/^core-\d+\.img$/, 0x55053847, 'core_entry'),
  cpuinfo: kind<cpuinfo_entry>(/^cpuinfo\.img$/, 0x61404013, 'cpuinfo_entry'),
  fdinfo: kind<fdinfo_entry>(/^fdinfo-\d+\.img$/, 0x56213732, 'fdinfo_entry'),
  'fifo-data': kind<pipe_data_entry>(/^fifo-data\.img$/, 0x59333054, 'pipe_data_entry', 'counted'),
  filelocks: kind<file_lock_entry>(/^filelocks\.img$/, 0x54323616, 'file_lock_entry'),
  files: kind<file_entry>(/^files\.img$/, 0x56303138, 'file_entry'),
  fs: kind<fs_entry>(/^fs-\d+\.img$/, 0x51403912, 'fs_entry'),
  'ghost-file': kind<ghost_file_entry>(/^ghost-file-[0-9a-f]+\.img$/, 0x52583605, 'ghost_file_entry', 'rest'),
  ids: kind<task_kobj_ids_entry>(/^ids-\d+\.img$/, 0x54432030, 'task_kobj_ids_entry'),
  inventory: kind<inventory_entry>(/^inventory\.img$/, 0x58313116, 'inventory_entry'),
  'ipcns-msg': kind<ipc_msg_entry>(/^ipcns-msg-\d+\.img$/, 0x55453737, 'ipc_msg_entry', 'counted'),
  'ipcns-sem': kind<ipc_sem_entry>(/^ipcns-sem-\d+\.img$/, 0x59573019, 'ipc_sem_entry', 'counted'),
  'ipcns-shm': kind<ipc_shm_entry>(/^ipcns-shm-\d+\.img$/, 0x46283044, 'ipc_shm_entry', 'counted'),
  'ipcns-var': kind<ipc_var_entry>(/^ipcns-var-\d+\.img$/, 0x53115007, 'ipc_var_entry'),
  memfd: kind<memfd_inode_entry>(/^memfd\.img$/, 0x48453499, 'memfd_inode_entry'),
  mm: kind<mm_entry>(/^mm-\d+\.img$/, 0x57492820, 'mm_entry'),
  mountpoints: kind<mnt_entry>(/^mountpoints-\d+\.img$/, 0x55563928, 'mnt_entry'),
  netdev: kind<net_device_entry>(/^netdev-\d+\.img$/, 0x57373951, 'net_device_entry'),
  netns: kind<netns_entry>(/^netns-\d+\.img$/, 0x55933752, 'netns_entry'),
  pidns: kind<pidns_entry>(/^pidns-\d+\.img$/, 0x61157326, 'pidns_entry'),
  'pipes-data': kind<pipe_data_entry>(/^pipes-data\.img$/, 0x56453709, 'pipe_data_entry', 'counted'),
  pstree: kind<pstree_entry>(/^pstree\.img$/, 0x50273030, 'pstree_entry'),
  'remap-fpath': kind<remap_file_path_entry>(/^remap-fpath\.img$/, 0x59133954, 'remap_file_path_entry'),
  seccomp: kind<seccomp_entry>(/^seccomp\.img$/, 0x64413049, 'seccomp_entry'),
  'sk-queues': kind<sk_packet_entry>(/^sk-queues\.img$/, 0x56264026, 'sk_packet_entry', 'counted'),
  stats: kind<stats_entry>(/^stats-[a-z]+$/, 0x57093306, 'stats_entry'),
  'tcp-stream': kind<tcp_stream_entry>(
    /^tcp-stream-[0-9a-f]+\.img$/,
    0x51465506,
    'tcp_stream_entry',
    'counted',
  ),
  timens: kind<timens_entry>(/^timens-\d+\.img$/, 0x43114433, 'timens_entry'),
  'tty-data': kind<tty_data_entry>(/^tty-data\.img$/, 0x59413026, 'tty_data_entry'),
  'tty-info': kind<tty_info_entry>(/^tty-info\.img$/, 0x59453036, 'tty_info_entry'),
  userns: kind<userns_entry>(/^userns-\d+\.img$/, 0x55474906, 'userns_entry'),
  utsns: kind<utsns_entry>(/^utsns-\d+\.img$/, 0x54473203, 'utsns_entry'),
};

/** Name of a kind of image file that consists of messages of one type. */
export type MessageKind = keyof typeof KINDS;

/** Message type of the entries of a kind. */
export type MessageOf<Kind extends MessageKind> = NonNullable<
  ReturnType<(typeof KINDS)[Kind]['schema']>['shape']
>;

const PAGEMAP_NAME = /^pagemap-(?:shmem-)?\d+\.img$/;

/** Returns the kind of image file that a file of this name holds; `raw` when it is not one of messages. */
export function kindOf(name: string): MessageKind | 'pagemap' | 'raw' {
  if (PAGEMAP_NAME.test(name)) return 'pagemap';
  // `mm-7.img` is of the kind `mm`, and most others are called so as well: fifty patterns are a lot for a first try.
  const named = /^[a-z]+(?:-[a-z]+)?(?=-\d|\.|$)/.exec(name)?.[0] ?? '';
  if (Object.hasOwn(KINDS, named) && KINDS[named as MessageKind].name.test(name)) return named as MessageKind;
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
