export { next } from './next.ts';
export { backOff, DEFAULT_POLICY } from './policy.ts';
export type { ReforkPolicy } from './policy.ts';
export { currentMold, initialState, readyWorkers } from './state.ts';
export type {
  FirstMold,
  Making,
  Mold,
  Phase,
  ReforkAction,
  ReforkEvent,
  ReforkState,
  Worker,
  WorkerPhase,
  WorkerReport,
} from './state.ts';
