/** Status bits of a memory area in an image (criu/include/image.h of CRIU 4.2). */
export const AREA_REGULAR = 1 << 0;
export const AREA_STACK = 1 << 1;
export const AREA_VSYSCALL = 1 << 2;
export const AREA_VDSO = 1 << 3;
export const AREA_HEAP = 1 << 5;
export const AREA_FILE_PRIVATE = 1 << 6;
export const AREA_FILE_SHARED = 1 << 7;
export const AREA_ANON_SHARED = 1 << 8;
export const AREA_ANON_PRIVATE = 1 << 9;
export const AREA_SYSV = 1 << 10;
export const AREA_VVAR = 1 << 12;
export const AREA_AIO = 1 << 13;
export const AREA_MEMFD = 1 << 14;
export const AREA_GUARD = 1 << 16;

/** Flags of mmap(2) as images hold them. */
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_DROPPABLE = 0x08;
export const MAP_ANONYMOUS = 0x20;
export const MAP_GROWSDOWN = 0x100;
export const MAP_LOCKED = 0x2000;
export const MAP_HUGETLB = 0x40000;

/** Protection that allows execution, as in mmap(2). */
export const PROT_EXEC = 4;

/** Type numbers of file entries and descriptors (enum fd_types of fdinfo.proto), by the word this package uses. */
export const FILE_TYPES = {
  file: 1,
  pipe: 2,
  fifo: 3,
  inet: 4,
  unix: 5,
  eventfd: 6,
  eventpoll: 7,
  inotify: 8,
  signalfd: 9,
  packet: 10,
  tty: 11,
  fanotify: 12,
  netlink: 13,
  namespace: 14,
  tun: 15,
  external: 16,
  timerfd: 17,
  memfd: 18,
  bpfmap: 19,
  pidfd: 20,
} as const;

/** What a descriptor refers to. */
export type FileType = keyof typeof FILE_TYPES;
