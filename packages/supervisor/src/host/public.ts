// What `forkpoint/host` exports: images, and clones of them, from outside of any program.
export { compress, decompress, flatten, upgrade } from './change.ts';
export { verify } from './check.ts';
export { list } from './list.ts';
export { diff, inspect } from './look.ts';
export { openImage } from './open.ts';
export { createPool } from './pool.ts';
export type { AcquireOptions, Pool, PooledClone, PoolEvent, PoolOptions } from './pool-types.ts';
export type {
  ChangeOptions,
  Changes,
  Comparison,
  CompressResult,
  FlattenOptions,
  FlattenResult,
  HostError,
  HostOptions,
  Image,
  ImageDescriptor,
  ImageList,
  ImageManifest,
  ImageSlot,
  Inspection,
  ListedImage,
  ListOptions,
  Progress,
  VerifyOptions,
  VerifyResult,
  WorkOptions,
} from './types.ts';
