import { currentMold } from '../refork/index.ts';
import type { ReforkState, Worker } from '../refork/index.ts';
import type { Crew } from './crew.ts';
import type { History, PastMold } from './history.ts';
import type { ServeOptions } from './options.ts';
import type { MoldStatus, ServeStatus, WorkerStatus } from './status.ts';

/** What a status is made from. */
export interface Facts {
  readonly id: string;
  readonly options: ServeOptions;
  readonly startedAt: Date;
  readonly isComplete: boolean;
  readonly state: ReforkState;
  readonly crew: Crew;
  readonly history: History;
  readonly addresses: readonly string[];
}

/** Returns what is told of a server. */
export function statusOf(facts: Facts): ServeStatus {
  const { state, history, options, crew } = facts;
  const living = crew.all().reduce((sum, { told }) => sum + told.requests, 0);
  const kept = new Set(state.molds.map(({ id }) => id));
  const molds = history.molds.map((past) => moldStatus(past, kept));
  const current = currentMold(state)?.id;
  const isStarting = state.phase === 'serving' && !facts.isComplete;
  const { making } = state;
  return {
    id: facts.id,
    name: options.name,
    pid: process.pid,
    command: options.command,
    startedAt: facts.startedAt.toISOString(),
    phase: isStarting ? 'starting' : state.phase,
    addresses: facts.addresses,
    mold: molds.find(({ id }) => id === current) ?? null,
    making:
      making === null
        ? null
        : { kind: making.kind, worker: making.kind === 'capture' ? making.worker : null },
    workers: state.workers.map((worker) => workerStatus(worker, crew, molds)),
    molds,
    totals: { requests: history.requests + living, reforks: history.reforks, reloads: history.reloads },
  };
}

function moldStatus({ mold, parent, madeAt }: PastMold, kept: ReadonlySet<number>): MoldStatus {
  const { id, release, generation, bytes } = mold;
  return { id, release, generation, parent, bytes, madeAt: madeAt.toISOString(), isKept: kept.has(id) };
}

function workerStatus(worker: Worker, crew: Crew, molds: readonly MoldStatus[]): WorkerStatus {
  const part = crew.get(worker.id);
  const { privateBytes, sharedBytes, cpuSeconds } = part?.usage ?? {
    privateBytes: 0,
    sharedBytes: 0,
    cpuSeconds: 0,
  };
  const ofMold = molds.find(({ id }) => id === worker.image)?.generation ?? 0;
  return {
    pid: part?.hostPid ?? null,
    worker: worker.id,
    slot: worker.slot,
    run: part?.run ?? '',
    mold: worker.image,
    generation: part?.told.generation ?? ofMold + 1,
    requests: part?.told.requests ?? 0,
    active: part?.told.active ?? 0,
    state: worker.phase,
    memory: { privateBytes, sharedBytes },
    cpuSeconds,
  };
}
