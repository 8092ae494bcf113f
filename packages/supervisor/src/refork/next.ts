import { STILL_GROWTH } from './policy.ts';
import { reconcile } from './reconcile.ts';
import type { Mold, ReforkAction, ReforkEvent, ReforkState, WorkerReport } from './state.ts';
import { end, enter, fail, failMaking, log, release, workerOf } from './steps.ts';

/**
 * The re-forking server as a function: the state after an event at the time `now`, and what has to be done. Does no I/O,
 * reads no clock, throws for nothing: events about workers that are gone are passed over.
 */
export function next(
  before: ReforkState,
  event: ReforkEvent,
  now: number,
): readonly [ReforkState, readonly ReforkAction[]] {
  const state: ReforkState = {
    ...before,
    now: Math.max(now, before.now),
    workers: before.workers.map((worker) => ({ ...worker })),
    molds: before.molds.map((mold) => ({ ...mold })),
  };
  const actions: ReforkAction[] = [];
  if (state.phase !== 'stopped') {
    apply(state, event, actions);
    reconcile(state, actions);
  }
  return [state, actions];
}

function apply(state: ReforkState, event: ReforkEvent, actions: ReforkAction[]): void {
  switch (event.type) {
    case 'tick':
      return;
    case 'made':
      return made(state, event.bytes, event.source, actions);
    case 'makingFailed':
      return makingFailed(state, event.reason, actions);
    case 'ready':
      return ready(state, event.worker);
    case 'heard':
      for (const one of event.reports) heard(state, one);
      return;
    case 'drained': {
      const worker = workerOf(state, event.worker, 'draining');
      if (worker !== undefined) end(state, worker, 'SIGTERM', actions);
      return;
    }
    case 'exited':
      return exited(state, event.worker, event.how, actions);
    case 'refork':
      state.isReforkWanted = state.phase === 'serving';
      return;
    case 'reload':
      return reload(state, actions);
    case 'stop':
      return stop(state, actions);
  }
}

function made(state: ReforkState, bytes: number, source: string, actions: ReforkAction[]): void {
  const making = release(state);
  if (making === null) return;
  const from = making.kind === 'boot' ? undefined : state.molds.find(({ id }) => id === making.mold);
  const mold: Mold = {
    id: state.nextMold++,
    release: making.kind === 'boot' ? making.release : (from?.release ?? state.release),
    generation: making.kind === 'boot' ? 0 : (from?.generation ?? 0) + 1,
    bytes,
    madeAt: state.now,
    failures: 0,
    failedAt: 0,
    isBroken: false,
  };
  state.molds.push(mold);
  state.makeFailures = 0;
  state.makeAfter = state.now;
  actions.push(log('info', `image ${mold.id} of generation ${mold.generation} was made from ${source}`));
}

function makingFailed(state: ReforkState, reason: string, actions: ReforkAction[]): void {
  const making = release(state);
  if (making === null) return;
  failMaking(state, making, reason, actions);
}

function ready(state: ReforkState, id: number): void {
  const worker = workerOf(state, id, 'starting');
  if (worker === undefined) return;
  enter(state, worker, 'ready');
  worker.readyAt = state.now;
  worker.heardAt = state.now;
}

function heard(state: ReforkState, report: WorkerReport): void {
  const worker = workerOf(state, report.worker, 'starting', 'ready', 'molding', 'draining');
  if (worker === undefined) return;
  worker.heardAt = state.now;
  worker.requests = report.requests;
  worker.oldestMs = report.oldestMs;
  worker.privateBytes = report.privateBytes;
  if (worker.firstBytes === 0) worker.firstBytes = report.privateBytes;
  if (worker.firstCode === 0) worker.firstCode = report.codeBytes;
  if (report.codeBytes <= worker.codeBytes * (1 + STILL_GROWTH)) return;
  worker.codeBytes = report.codeBytes;
  worker.codeSince = state.now;
}

function exited(state: ReforkState, id: number, how: string, actions: ReforkAction[]): void {
  const worker = state.workers.find((one) => one.id === id);
  if (worker === undefined) return;
  state.workers = state.workers.filter((one) => one !== worker);
  if (state.making?.kind === 'capture' && state.making.worker === id) {
    const making = release(state);
    if (making !== null) failMaking(state, making, `the worker ended ${how}`, actions);
  }
  if (worker.phase === 'draining' || worker.phase === 'ending') return;
  const { provenMs, provenRequests } = state.policy;
  const isProven =
    worker.phase !== 'starting' &&
    (state.now - worker.readyAt >= provenMs || worker.requests >= provenRequests);
  if (isProven) {
    actions.push(log('warning', `worker ${id} ended ${how} after ${worker.requests} requests`));
    return;
  }
  fail(
    state,
    worker,
    `ended ${how} ${worker.phase === 'starting' ? 'before it was ready' : 'right after its start'}`,
    actions,
  );
}

function reload(state: ReforkState, actions: ReforkAction[]): void {
  if (state.phase !== 'serving') return;
  if (state.making !== null) actions.push({ type: 'abandon' });
  release(state);
  state.release = state.nextRelease++;
  state.makeFailures = 0;
  state.makeAfter = state.now;
}

function stop(state: ReforkState, actions: ReforkAction[]): void {
  if (state.phase !== 'serving') return;
  state.phase = 'stopping';
  state.isReforkWanted = false;
  if (state.making !== null) actions.push({ type: 'abandon' });
  release(state);
}
