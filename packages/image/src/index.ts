export { areasOf, memoryOf } from './areas.ts';
export type { AreaKind, AreaSummary } from './areas.ts';
export { changedArea, regularFile, unixSocket } from './build.ts';
export { DEFAULT_LIMITS, decodeImage, encodeImage } from './codec.ts';
export type { Entry, ImageFile, Limits, MessageFile, PagemapFile, RawFile } from './codec.ts';
export {
  FileTable,
  inetAddress,
  pipeOf,
  SOCK_DGRAM,
  SOCK_SEQPACKET,
  SOCK_STREAM,
  TCP_ESTABLISHED,
  TCP_LISTEN,
  unixName,
} from './descriptors.ts';
export type { DescriptorKind, DescriptorSummary, FileDescription, SocketState } from './descriptors.ts';
export { ImageDirectory } from './directory.ts';
export type { ImageSource } from './directory.ts';
export { environmentNames } from './environment.ts';
export type { PagesReader } from './environment.ts';
export { ImageError } from './error.ts';
export type { ImageErrorCode } from './error.ts';
export { kindOf, KINDS } from './kinds.ts';
export type { MessageKind, MessageOf } from './kinds.ts';
export {
  PAGE_IN_PARENT,
  PAGE_LAZY,
  PAGE_PRESENT,
  PAGE_SIZE,
  pagemapEntry,
  pageRuns,
  toAddress,
} from './pages.ts';
export type { PageRun } from './pages.ts';
export { create } from './message.ts';
export type { Values } from './message.ts';
export { pagemapRuns } from './pagemap-runs.ts';
export { summarize } from './summary.ts';
export type {
  ClockSummary,
  CredentialSummary,
  FileSummary,
  ImageSummary,
  ProcessSummary,
} from './summary.ts';
export { bytesToText, textToBytes } from './text.ts';
export {
  AREA_AIO,
  AREA_ANON_PRIVATE,
  AREA_ANON_SHARED,
  AREA_FILE_PRIVATE,
  AREA_FILE_SHARED,
  AREA_GUARD,
  AREA_HEAP,
  AREA_MEMFD,
  AREA_STACK,
  AREA_SYSV,
  AREA_VDSO,
  AREA_VSYSCALL,
  AREA_VVAR,
  FILE_TYPES,
  MAP_ANONYMOUS,
  MAP_DROPPABLE,
  MAP_GROWSDOWN,
  MAP_HUGETLB,
  MAP_LOCKED,
  MAP_PRIVATE,
  MAP_SHARED,
  PROT_EXEC,
} from './vma.ts';
export type { FileType } from './vma.ts';
export type { core_entry } from './gen/core_pb.ts';
export type { fdinfo_entry, file_entry } from './gen/fdinfo_pb.ts';
export type { fown_entry } from './gen/fown_pb.ts';
export type { reg_file_entry } from './gen/regfile_pb.ts';
export type { inet_sk_entry } from './gen/sk-inet_pb.ts';
export type { unix_sk_entry } from './gen/sk-unix_pb.ts';
export type { vma_entry } from './gen/vma_pb.ts';
