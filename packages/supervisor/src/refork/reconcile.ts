import { WARM_GROWTH } from './policy.ts';
import { currentMold, readyWorkers } from './state.ts';
import type { Mold, ReforkAction, ReforkState, Worker } from './state.ts';
import { end, enter, fail, failMaking, log, release } from './steps.ts';

/** Images that are kept: the current one, and the one to fall back to. */
const KEPT = 2;

/** Compares what is with what shall be, and takes the steps that are safe now. */
export function reconcile(state: ReforkState, actions: ReforkAction[]): void {
  enforceLimits(state, actions);
  if (state.phase === 'stopping') {
    windDown(state, actions);
    return;
  }
  prove(state);
  const mold = currentMold(state);
  if (mold === undefined || mold.release !== state.release) boot(state, actions);
  if (mold !== undefined) {
    trim(state, mold, actions);
    fill(state, mold, actions);
    replace(state, mold, actions);
    refork(state, mold, actions);
  }
}

/** Whatever takes too long is ended. */
function enforceLimits(state: ReforkState, actions: ReforkAction[]): void {
  const { now, policy, making } = state;
  if (making !== null && now - making.since >= (making.kind === 'boot' ? policy.bootMs : policy.captureMs)) {
    actions.push({ type: 'abandon' });
    release(state);
    failMaking(state, making, `it took longer than ${now - making.since} ms`, actions);
  }
  for (const worker of state.workers) {
    const age = now - worker.since;
    if (worker.phase === 'starting' && age >= policy.readyMs) {
      end(state, worker, 'SIGKILL', actions);
      fail(state, worker, `was not ready within ${policy.readyMs} ms`, actions);
    } else if (worker.phase === 'ending' && age >= policy.endMs) {
      // Said again and again: whoever hears it may have been busy.
      end(state, worker, 'SIGKILL', actions);
    } else if (worker.phase === 'draining' && age >= policy.drainMs) {
      actions.push(log('warning', `worker ${worker.id} still had requests after ${age} ms of draining`));
      end(state, worker, 'SIGKILL', actions);
    } else if (worker.phase === 'draining' && worker.oldestMs >= policy.hardRequestMs) {
      actions.push(
        log('warning', `worker ${worker.id} had a request of ${worker.oldestMs} ms and is killed`),
      );
      end(state, worker, 'SIGKILL', actions);
    } else if (worker.phase === 'ready') watch(state, worker, actions);
  }
}

function watch(state: ReforkState, worker: Worker, actions: ReforkAction[]): void {
  const { now, policy } = state;
  const silence = now - worker.heardAt;
  if (worker.oldestMs >= policy.hardRequestMs || silence >= policy.silenceMs) {
    const why =
      silence >= policy.silenceMs
        ? `said nothing for ${silence} ms`
        : `had a request of ${worker.oldestMs} ms`;
    actions.push(log('warning', `worker ${worker.id} ${why} and is killed`));
    end(state, worker, 'SIGKILL', actions);
    return;
  }
  if (worker.doomed !== null) return;
  if (worker.oldestMs >= policy.softRequestMs) worker.doomed = 'slow';
  else if (policy.memoryLimit !== null && worker.privateBytes >= policy.memoryLimit) worker.doomed = 'memory';
  if (worker.doomed === null) return;
  const why =
    worker.doomed === 'slow'
      ? `has a request of ${worker.oldestMs} ms`
      : `holds ${worker.privateBytes} bytes of its own`;
  actions.push(log('warning', `worker ${worker.id} ${why} and is replaced`));
}

/** The end: everybody drains at once. Those that are starting have nothing to finish. */
function windDown(state: ReforkState, actions: ReforkAction[]): void {
  for (const worker of state.workers) {
    if (worker.phase === 'ready' || worker.phase === 'molding') drain(state, worker, actions);
    else if (worker.phase === 'starting') end(state, worker, 'SIGTERM', actions);
  }
  if (state.workers.length > 0) return;
  state.phase = 'stopped';
  actions.push({ type: 'exit', code: 0 });
}

/** A worker that serves for a while shows that its image is good. */
function prove(state: ReforkState): void {
  for (const worker of state.workers) {
    if (worker.phase !== 'ready' || state.now - worker.readyAt < state.policy.provenMs) continue;
    const mold = state.molds.find(({ id }) => id === worker.image);
    if (mold === undefined || mold.isBroken) continue;
    if (mold.release === state.release) state.provenRelease = state.release;
    // Older ones may live while no new one does.
    if (mold.failures > 0 && worker.readyAt <= mold.failedAt) continue;
    mold.failures = 0;
    if (worker.image === currentMold(state)?.id) state.failures = 0;
  }
}

function boot(state: ReforkState, actions: ReforkAction[]): void {
  if (state.making !== null || state.now < state.makeAfter) return;
  state.making = { kind: 'boot', release: state.release, since: state.now };
  actions.push({ type: 'boot', release: state.release, mold: state.nextMold });
}

/** Images that nobody needs go, and on a full disk the one to fall back to as well. */
function trim(state: ReforkState, current: Mold, actions: ReforkAction[]): void {
  const { diskLimit } = state.policy;
  const keep = new Set([current.id]);
  let bytes = current.bytes;
  for (const mold of state.molds.toReversed()) {
    if (keep.has(mold.id) || mold.isBroken || keep.size >= KEPT) continue;
    if (diskLimit !== null && bytes + mold.bytes > diskLimit) continue;
    bytes += mold.bytes;
    keep.add(mold.id);
  }
  for (const { id } of state.molds) if (!keep.has(id)) actions.push({ type: 'remove', mold: id });
  state.molds = state.molds.filter(({ id }) => keep.has(id));
}

/** Every slot without a worker gets one. */
function fill(state: ReforkState, mold: Mold, actions: ReforkAction[]): void {
  const held = new Set(
    state.workers.filter(({ phase }) => phase !== 'draining' && phase !== 'ending').map(({ slot }) => slot),
  );
  for (let slot = 0; slot < state.policy.workers; slot++) {
    if (!mayStart(state)) return;
    if (!held.has(slot)) start(state, slot, mold, actions);
  }
}

function mayStart(state: ReforkState): boolean {
  if (state.now < state.startAfter) return false;
  const starting = state.workers.filter(({ phase }) => phase === 'starting').length;
  const limit = state.failures > 0 ? 1 : state.policy.startsAtOnce;
  // Those that do not want to end count: otherwise there could be more and more of them.
  return starting < limit && state.workers.length < 2 * state.policy.workers + state.policy.drainsAtOnce;
}

function start(state: ReforkState, slot: number, mold: Mold, actions: ReforkAction[]): void {
  const id = state.nextWorker++;
  state.workers.push({
    id,
    slot,
    image: mold.id,
    phase: 'starting',
    since: state.now,
    readyAt: 0,
    heardAt: state.now,
    requests: 0,
    oldestMs: 0,
    privateBytes: 0,
    firstBytes: 0,
    codeBytes: 0,
    firstCode: 0,
    codeSince: state.now,
    doomed: null,
  });
  actions.push({ type: 'start', worker: id, slot, mold: mold.id, generation: mold.generation + 1 });
}

/**
 * Old workers make way, one after another: the new one starts beside the old one, and only when it serves does the old
 * one drain. So a rollout takes nobody from those who serve.
 */
function replace(state: ReforkState, mold: Mold, actions: ReforkAction[]): void {
  const ready = readyWorkers(state);
  for (const worker of ready) {
    if (worker.image === mold.id && worker.doomed === null) continue;
    const successor = ready.find(({ slot, id }) => slot === worker.slot && id > worker.id);
    if (successor === undefined) continue;
    const draining = state.workers.filter(({ phase }) => phase === 'draining').length;
    if (draining < state.policy.drainsAtOnce) drain(state, worker, actions);
  }
  const isBusy = state.workers.some(({ phase }) => phase === 'starting' || phase === 'molding');
  if (isBusy || !mayStart(state)) return;
  const alone = readyWorkers(state).filter(
    (worker) => !ready.some(({ slot, id }) => slot === worker.slot && id > worker.id),
  );
  const old = alone.find(({ doomed }) => doomed !== null) ?? alone.find(({ image }) => image !== mold.id);
  if (old !== undefined) start(state, old.slot, mold, actions);
}

function drain(state: ReforkState, worker: Worker, actions: ReforkAction[]): void {
  enter(state, worker, 'draining');
  actions.push({ type: 'drain', worker: worker.id });
}

/** Makes the warmest healthy worker the next mold, when there is a reason and everybody serves. */
function refork(state: ReforkState, mold: Mold, actions: ReforkAction[]): void {
  const { now, policy } = state;
  if (state.making !== null || now < state.makeAfter || mold.release !== state.release) return;
  // New code has to prove itself first: the image of the old one is what it would fall back to.
  if (state.release !== state.provenRelease) return;
  const ready = readyWorkers(state);
  if (ready.length < policy.workers || ready.length < state.workers.length) return;
  // A generation is not given up before it serves.
  if (ready.some(({ image }) => image !== mold.id)) return;
  const healthy = ready.filter(({ doomed }) => doomed === null);
  const warmest = healthy.reduce<Worker | undefined>(
    (best, one) => (best === undefined || one.requests > best.requests ? one : best),
    undefined,
  );
  if (warmest === undefined || !isDue(state, mold, warmest, healthy)) return;
  state.isReforkWanted = false;
  if (policy.diskLimit !== null && 2 * mold.bytes > policy.diskLimit) {
    if (!state.isDiskFull)
      actions.push(
        log('warning', `no refork: two images of ${mold.bytes} bytes do not fit into ${policy.diskLimit}`),
      );
    state.isDiskFull = true;
    return;
  }
  state.making = { kind: 'capture', worker: warmest.id, mold: mold.id, since: now };
  enter(state, warmest, 'molding');
  actions.push({ type: 'capture', worker: warmest.id, mold: state.nextMold });
}

function isDue(state: ReforkState, mold: Mold, warmest: Worker, healthy: readonly Worker[]): boolean {
  const { policy, now } = state;
  if (state.isReforkWanted) return true;
  const threshold = policy.thresholds[mold.generation];
  if (threshold !== undefined && warmest.requests >= threshold) return true;
  if (policy.reforkAfterMs !== null && now - mold.madeAt >= policy.reforkAfterMs && warmest.requests > 0)
    return true;
  if (policy.reforkWhenWarmMs !== null && isWarm(warmest, now - policy.reforkWhenWarmMs)) return true;
  if (policy.reforkAfterGrowth === null) return false;
  const growth = healthy
    .map(({ privateBytes, firstBytes }) => privateBytes - firstBytes)
    .sort((a, b) => a - b);
  return (growth[Math.floor(growth.length / 2)] ?? 0) >= policy.reforkAfterGrowth;
}

/** Whether a worker has compiled more than it was born with, and nothing more since `before`. */
function isWarm({ requests, codeBytes, firstCode, codeSince }: Worker, before: number): boolean {
  return requests > 0 && firstCode > 0 && codeBytes >= firstCode * (1 + WARM_GROWTH) && codeSince <= before;
}
