// What `forkpoint/host` exports: images from outside of any program. Each function takes a name in the store or a path.
export { compress, decompress, flatten, upgrade } from './change.ts';
export { verify } from './check.ts';
export { list } from './list.ts';
export { diff, inspect } from './look.ts';
export { openImage } from './open.ts';
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
