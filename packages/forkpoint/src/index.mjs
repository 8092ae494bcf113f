// The ESM entry of the package. The CommonJS bundle beside it holds the code, so that both share one state.
import library from './index.cjs';

export const { checkpoint, CheckpointException, Core, createContext, RestoreException } = library;
