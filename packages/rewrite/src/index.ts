export { rewrite } from './rewrite.ts';
export type {
  DescriptorPlace,
  Note,
  RewriteOptions,
  RewriteResult,
  Slot,
  StdioSlot,
  TcpOption,
  TcpSlot,
  UnixSlot,
} from './types.ts';
