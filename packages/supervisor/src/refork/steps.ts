import { backOff } from './policy.ts';
import { currentMold } from './state.ts';
import type { Making, ReforkAction, ReforkState, Worker, WorkerPhase } from './state.ts';

/** Returns a worker when it is in one of these phases. */
export function workerOf(state: ReforkState, id: number, ...phases: WorkerPhase[]): Worker | undefined {
  return state.workers.find((worker) => worker.id === id && phases.includes(worker.phase));
}

/** Brings a worker into a phase. */
export function enter(state: ReforkState, worker: Worker, phase: WorkerPhase): void {
  worker.phase = phase;
  worker.since = state.now;
}

/** Ends a worker: politely, or at once. */
export function end(
  state: ReforkState,
  worker: Worker,
  signal: 'SIGTERM' | 'SIGKILL',
  actions: ReforkAction[],
): void {
  enter(state, worker, 'ending');
  actions.push({ type: 'end', worker: worker.id, signal });
}

/** Ends what is being made; its worker serves on. */
export function release(state: ReforkState): Making | null {
  const { making } = state;
  state.making = null;
  if (making?.kind === 'capture') {
    const worker = workerOf(state, making.worker, 'molding');
    if (worker !== undefined) enter(state, worker, 'ready');
    // It has said nothing while it stood still.
    if (worker !== undefined) worker.heardAt = state.now;
  }
  return making;
}

/** Counts a failed cold start or image, and pauses. */
export function failMaking(
  state: ReforkState,
  making: Making,
  reason: string,
  actions: ReforkAction[],
): void {
  state.makeFailures++;
  const pause = backOff(state.policy, state.makeFailures);
  state.makeAfter = state.now + pause;
  const what = making.kind === 'boot' ? 'the cold start' : `the image of worker ${making.worker}`;
  actions.push(
    log('warning', `${what} failed: ${reason}; the next attempt is in ${pause} ms at the earliest`),
  );
  if (making.kind !== 'boot') return;
  if (state.makeFailures >= state.policy.brokenAfter && state.nextWorker === 0) {
    state.phase = 'stopped';
    actions.push(log('warning', 'the program does not come up'), { type: 'exit', code: 1 });
  }
  if (making.release === state.provenRelease) return;
  if (state.makeFailures < state.policy.brokenAfter || currentMold(state) === undefined) return;
  giveUpRelease(state, actions);
}

/** The new code does not come up: what served before serves on. */
function giveUpRelease(state: ReforkState, actions: ReforkAction[]): void {
  state.release = state.provenRelease;
  state.makeFailures = 0;
  actions.push(log('warning', 'the new code does not come up; the old one serves on'));
}

/** Counts a failure against a worker's image, and pauses. */
export function fail(state: ReforkState, worker: Worker, what: string, actions: ReforkAction[]): void {
  state.failures++;
  const pause = backOff(state.policy, state.failures);
  state.startAfter = state.now + pause;
  actions.push(log('warning', `worker ${worker.id} ${what}; the next one starts in ${pause} ms`));
  const mold = state.molds.find(({ id }) => id === worker.image);
  if (mold !== undefined) mold.failedAt = state.now;
  if (mold === undefined || mold.isBroken || ++mold.failures < state.policy.brokenAfter) return;
  mold.isBroken = true;
  if (mold.release !== state.provenRelease && mold.release === state.release && mold.generation === 0)
    giveUpRelease(state, actions);
  const other = currentMold(state);
  if (other !== undefined) {
    // The pauses were for the broken one; whoever is missing now comes from an image that has served.
    state.failures = 0;
    state.startAfter = state.now;
  }
  const then = other === undefined ? 'the program is started anew' : `back to image ${other.id}`;
  actions.push(
    log(
      'warning',
      `image ${mold.id} is broken: ${mold.failures} of its workers failed one after another; ${then}`,
    ),
  );
}

/** Returns an action that tells the operator. */
export function log(level: 'info' | 'warning', text: string): ReforkAction {
  return { type: 'log', level, text };
}
