import type { ReforkPolicy } from './policy.ts';

/**
 * starting: started, and not accepting yet · ready: serving · molding: standing still while its image is taken ·
 * draining: accepts nothing new, finishes what it has · ending: told to end, or killed
 */
export type WorkerPhase = 'starting' | 'ready' | 'molding' | 'draining' | 'ending';

/** One worker. Its slot is its number among the workers that serve; while it is replaced two workers have the same. */
export interface Worker {
  readonly id: number;
  readonly slot: number;
  readonly image: number;
  phase: WorkerPhase;
  /** Since when it is in this phase. */
  since: number;
  /** When it became ready. */
  readyAt: number;
  /** What it told last, and when. */
  heardAt: number;
  requests: number;
  /** Age of its oldest request that is not answered, less what the program has granted it. */
  oldestMs: number;
  privateBytes: number;
  /** Private memory when it was first heard of. */
  firstBytes: number;
  /** Size of the code that its runtime has compiled, the most there was; when it was first heard of; since when it is that. */
  codeBytes: number;
  firstCode: number;
  codeSince: number;
  /** Whether it has to be replaced, and why. */
  doomed: 'memory' | 'slow' | null;
}

/** An image that workers start from. */
export interface Mold {
  readonly id: number;
  /** The code that it is of: 0 for the first, one more for each reload. */
  readonly release: number;
  /** 0 for a cold start or an image that was there before, one more for each refork. */
  readonly generation: number;
  readonly bytes: number;
  readonly madeAt: number;
  /** Failures of its workers since one has proved it. */
  failures: number;
  /** When the last of them was. */
  failedAt: number;
  isBroken: boolean;
}

/** What is being made: a cold start of a release, or an image of a worker. Only one of them at a time. */
export type Making =
  | { readonly kind: 'boot'; readonly release: number; readonly since: number }
  | { readonly kind: 'capture'; readonly worker: number; readonly mold: number; readonly since: number };

/** serving: as long as nobody stops it · stopping: all workers are draining · stopped: the end */
export type Phase = 'serving' | 'stopping' | 'stopped';

/** All that a re-forking server knows. */
export interface ReforkState {
  readonly policy: ReforkPolicy;
  now: number;
  phase: Phase;
  /** The release that shall serve, and the newest one that ever did. */
  release: number;
  provenRelease: number;
  workers: Worker[];
  /** Oldest first. */
  molds: Mold[];
  making: Making | null;
  /** Whether somebody has asked for a refork. */
  isReforkWanted: boolean;
  nextWorker: number;
  nextMold: number;
  nextRelease: number;
  /** Failures of workers in a row, and when the next may start. */
  failures: number;
  startAfter: number;
  /** The same for cold starts and images. */
  makeFailures: number;
  makeAfter: number;
  /** Disk space of one image is not free: said once. */
  isDiskFull: boolean;
}

/** What a worker tells of itself. */
export interface WorkerReport {
  readonly worker: number;
  readonly requests: number;
  readonly oldestMs: number;
  readonly privateBytes: number;
  /** Compiled code, 0 while it is not known. */
  readonly codeBytes: number;
}

/** What happens to a re-forking server. Every event comes with the time, which never goes back. */
export type ReforkEvent =
  | { readonly type: 'tick' }
  /** A cold start or an image has succeeded; `bytes` is its size on disk, `source` what it was made from. */
  | { readonly type: 'made'; readonly bytes: number; readonly source: string }
  | { readonly type: 'makingFailed'; readonly reason: string }
  | { readonly type: 'ready'; readonly worker: number }
  | { readonly type: 'heard'; readonly reports: readonly WorkerReport[] }
  /** It has finished its last request. */
  | { readonly type: 'drained'; readonly worker: number }
  | { readonly type: 'exited'; readonly worker: number; readonly how: string }
  | { readonly type: 'refork' }
  /** Fresh: a cold start in any case. */
  | { readonly type: 'reload'; readonly isFresh?: boolean }
  | { readonly type: 'stop' };

/** What has to be done about it. */
export type ReforkAction =
  /** Starts the program of this release and makes an image of it when it is ready; answered by made or makingFailed. */
  | { readonly type: 'boot'; readonly release: number; readonly mold: number }
  /** Makes an image of a worker, which then goes on; answered by made or makingFailed. */
  | { readonly type: 'capture'; readonly worker: number; readonly mold: number }
  /** Gives up the boot or capture that is under way. */
  | { readonly type: 'abandon' }
  | {
      readonly type: 'start';
      readonly worker: number;
      readonly slot: number;
      readonly mold: number;
      readonly generation: number;
    }
  | { readonly type: 'drain'; readonly worker: number }
  | { readonly type: 'end'; readonly worker: number; readonly signal: 'SIGTERM' | 'SIGKILL' }
  | { readonly type: 'remove'; readonly mold: number }
  | { readonly type: 'log'; readonly level: 'info' | 'warning'; readonly text: string }
  /** Nothing lives any more; the code is 1 when the program never came up. */
  | { readonly type: 'exit'; readonly code: 0 | 1 };

/** An image that was there before the server started. */
export interface FirstMold {
  readonly bytes: number;
}

/** Returns the state before the first event. With an image, workers start from it at once. */
export function initialState(policy: ReforkPolicy, now: number, first: FirstMold | null = null): ReforkState {
  const molds: Mold[] =
    first === null
      ? []
      : [
          {
            id: 0,
            release: 0,
            generation: 0,
            bytes: first.bytes,
            madeAt: now,
            failures: 0,
            failedAt: 0,
            isBroken: false,
          },
        ];
  return {
    policy,
    now,
    phase: 'serving',
    release: 0,
    provenRelease: 0,
    workers: [],
    molds,
    making: null,
    isReforkWanted: false,
    nextWorker: 0,
    nextMold: molds.length,
    nextRelease: 1,
    failures: 0,
    startAfter: now,
    makeFailures: 0,
    makeAfter: now,
    isDiskFull: false,
  };
}

/** Returns the image that new workers start from: the newest good one of the release, else of the one that served before. */
export function currentMold(state: ReforkState): Mold | undefined {
  const good = state.molds.filter(({ isBroken }) => !isBroken);
  return (
    good.findLast(({ release }) => release === state.release) ??
    good.findLast(({ release }) => release === state.provenRelease)
  );
}

/** Returns the workers that serve. */
export function readyWorkers(state: ReforkState): Worker[] {
  return state.workers.filter(({ phase }) => phase === 'ready');
}
