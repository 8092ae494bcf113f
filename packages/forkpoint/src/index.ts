import { join } from 'node:path';

import { start } from '@forkpoint/core';

export {
  checkpoint,
  CheckpointException,
  Core,
  createContext,
  extendRequest,
  fork,
  RestoreException,
} from '@forkpoint/core';
export type {
  BlockingResource,
  Channel,
  CheckpointOptions,
  Child,
  Context,
  CoreApi,
  Forked,
  ForkOptions,
  HookContext,
  Outcome,
  RegisterOptions,
  Resource,
  ServeConfig,
  ServeServer,
  ServeTimeout,
  ServeWorker,
} from '@forkpoint/core';

// A program started with --no-preload joins when it loads the library; bundled to CommonJS, hence __dirname.
start(join(__dirname, 'preload.cjs'));
