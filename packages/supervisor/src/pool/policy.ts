/** The bounds of a pool. */
export interface PoolBounds {
  /** Clones that stand ready. */
  readonly size: number;
  /** Private memory that they may have together, in bytes. */
  readonly maxMemoryBytes: number;
  /** How long one may stand, in milliseconds. */
  readonly maxAgeMs: number;
}

/** A clone that stands ready. */
export interface Standing {
  readonly id: string;
  readonly parkedAtMs: number;
  readonly privateBytes: number;
  readonly isHealthy: boolean;
}

/** What a pool looks like at one moment. */
export interface PoolView {
  readonly parked: readonly Standing[];
  readonly starting: number;
  /** Private bytes of the clone that was measured last; 0 before the first. */
  readonly typicalBytes: number;
  /** Starts that failed since the last that did not. */
  readonly failures: number;
  readonly failedAtMs: number;
  readonly nowMs: number;
}

/** What is to be done about it. */
export interface PoolPlan {
  readonly retire: readonly { readonly id: string; readonly why: 'dead' | 'old' | 'memory' }[];
  /** How many starts to begin. */
  readonly start: number;
  /** In how many milliseconds to look again at the latest, because something is due then; null when nothing is. */
  readonly againInMs: number | null;
}

/** Restores that run at the same time: more of them only share the processors. */
const STARTS_AT_ONCE = 2;
const FIRST_PAUSE_MS = 100;
const LONGEST_PAUSE_MS = 30_000;

/** Decides what a pool does next. Pure. */
export function planPool(bounds: PoolBounds, view: PoolView): PoolPlan {
  const { nowMs } = view;
  const retire: { id: string; why: 'dead' | 'old' | 'memory' }[] = [];
  const kept: Standing[] = [];
  let bytes = 0;
  for (const one of [...view.parked].sort((a, b) => a.parkedAtMs - b.parkedAtMs)) {
    if (!one.isHealthy) retire.push({ id: one.id, why: 'dead' });
    else if (nowMs - one.parkedAtMs >= bounds.maxAgeMs) retire.push({ id: one.id, why: 'old' });
    else if (bytes + one.privateBytes > bounds.maxMemoryBytes) retire.push({ id: one.id, why: 'memory' });
    else {
      bytes += one.privateBytes;
      kept.push(one);
    }
  }
  // Another one is only started where one of the usual size still fits.
  const each = Math.max(1, kept.length === 0 ? view.typicalBytes : bytes / kept.length);
  const fitting = Math.floor((bounds.maxMemoryBytes - bytes) / each);
  const wanted = Math.min(bounds.size - kept.length, fitting) - view.starting;
  const pausedMs = pauseAfter(view.failures) - (nowMs - view.failedAtMs);
  const isPaused = view.failures > 0 && pausedMs > 0;
  const start = isPaused ? 0 : Math.max(0, Math.min(wanted, STARTS_AT_ONCE - view.starting));
  const due = kept.map(({ parkedAtMs }) => parkedAtMs + bounds.maxAgeMs - nowMs);
  if (isPaused && wanted > 0) due.push(pausedMs);
  const first = Math.min(...due);
  return { retire, start, againInMs: Number.isFinite(first) ? first : null };
}

/** How long a pool waits after so many failed starts in a row. */
function pauseAfter(failures: number): number {
  return Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(failures - 1, 20));
}
