// The public part, and what only the command line needs beside it.
export * from './public.ts';
export { checkClones } from './check-clones.ts';
export type { CloneCheck, CheckedClones, FoundToken } from './check-clones.ts';
export { bringClone, environmentOf, removeClone, startClone } from './clones.ts';
export { Starter } from './starter.ts';
export type { CloneMaker, CloneOrder } from './clones.ts';
export { launcherOf } from './places.ts';
export { unpack } from './unpack.ts';
export { listedImage, viewStore } from './view.ts';
export type { StoreView } from './view.ts';
