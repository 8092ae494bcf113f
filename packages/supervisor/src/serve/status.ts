/** What `forkpoint serve status --json` tells of one server. */
export interface ServeStatus {
  readonly id: string;
  readonly name: string;
  /** Pid of the server. */
  readonly pid: number;
  readonly command: readonly string[];
  readonly startedAt: string;
  readonly phase: 'starting' | 'serving' | 'stopping' | 'stopped';
  /** Where the workers listen. */
  readonly addresses: readonly string[];
  /** The image that new workers start from; null before there is one. */
  readonly mold: MoldStatus | null;
  /** What is being made now. */
  readonly making: { readonly kind: 'boot' | 'capture'; readonly worker: number | null } | null;
  readonly workers: readonly WorkerStatus[];
  /** All images there have been, up to a limit, oldest first. */
  readonly molds: readonly MoldStatus[];
  readonly totals: { readonly requests: number; readonly reforks: number; readonly reloads: number };
}

export interface MoldStatus {
  readonly id: number;
  /** 0 for the first code, one more for each reload. */
  readonly release: number;
  /** 0 for a cold start, one more for each refork. */
  readonly generation: number;
  /** The image that the worker came from which this one is of; null for a cold start. */
  readonly parent: number | null;
  readonly bytes: number;
  readonly madeAt: string;
  /** Whether it still lies on the disk. */
  readonly isKept: boolean;
}

export interface WorkerStatus {
  /** On this machine; null before it is known. */
  readonly pid: number | null;
  readonly worker: number;
  readonly slot: number;
  readonly run: string;
  readonly mold: number;
  readonly generation: number;
  readonly requests: number;
  /** Requests under way. */
  readonly active: number;
  readonly state: 'starting' | 'ready' | 'molding' | 'draining' | 'ending';
  /** In bytes. */
  readonly memory: { readonly privateBytes: number; readonly sharedBytes: number };
  readonly cpuSeconds: number;
}
