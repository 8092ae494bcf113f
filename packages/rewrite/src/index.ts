export { rewrite } from './rewrite.ts';
export type {
  TerminalSettings,
  DescriptorPlace,
  FileSlot,
  Note,
  Policy,
  PolicyOf,
  RewriteOptions,
  RewriteResult,
  Slot,
  StdioSlot,
  TcpOption,
  TcpSlot,
  UnixSlot,
} from './types.ts';
