import { readyWorkers } from '../refork/index.ts';
import type { ReforkState, Worker } from '../refork/index.ts';
import type { Crew, Part } from './crew.ts';
import type { Notifier } from './notify.ts';
import type { ServeOptions } from './options.ts';

/** What the supervisor's clock of systemd is: CLOCK_MONOTONIC, as process.hrtime has it (uv_hrtime). */
const MICROSECONDS = 1000n;

/** Tells others what the server has come to: the operator, the service manager, workers, hooks. */
export class Monitor {
  readonly #options: ServeOptions;
  readonly #crew: Crew;
  readonly #notifier: Notifier;
  readonly #addresses: () => string[];
  /** Whether all workers have served at the same time: then the start is over. */
  isComplete = false;
  #isReloading = false;

  constructor(options: ServeOptions, crew: Crew, notifier: Notifier, addresses: () => string[]) {
    this.#options = options;
    this.#crew = crew;
    this.#notifier = notifier;
    this.#addresses = addresses;
  }

  /** Looks at what one event has changed. */
  look(before: ReforkState, after: ReforkState): void {
    if (!this.isComplete) this.#lookAtStart(after);
    else this.#lookAtReload(before, after);
    if (before.phase === 'serving' && after.phase === 'stopping')
      void this.#notifier.tell('STOPPING=1', 'STATUS=workers finish what they have');
    const earlier = new Map(before.workers.map((worker) => [worker.id, worker]));
    for (const worker of after.workers) this.#lookAtWorker(earlier.get(worker.id), worker, after);
  }

  #lookAtStart(after: ReforkState): void {
    const { workers } = after.policy;
    if (readyWorkers(after).length < workers) return;
    this.isComplete = true;
    const where = this.#addresses().join(', ');
    this.#options.log(
      'info',
      `${workers === 1 ? '1 worker serves' : `${workers} workers serve`} at ${where}`,
    );
    void this.#notifier.tell('READY=1', this.#status(after));
    const { hooks } = this.#options;
    void this.#runHook('afterMonitorReady', () => hooks.afterMonitorReady?.(this.#server));
  }

  /** A reload begins with a new release, and ends when it serves alone, or was given up. */
  #lookAtReload(before: ReforkState, after: ReforkState): void {
    if (before.nextRelease !== after.nextRelease) {
      this.#isReloading = true;
      const now = process.hrtime.bigint() / MICROSECONDS;
      void this.#notifier.tell('RELOADING=1', `MONOTONIC_USEC=${now}`, 'STATUS=new code is rolled out');
    }
    if (!this.#isReloading || after.phase !== 'serving') return;
    const releases = new Map(after.molds.map(({ id, release }) => [id, release]));
    const ready = readyWorkers(after);
    if (ready.length < after.policy.workers || after.workers.length > ready.length) return;
    if (ready.some(({ image }) => releases.get(image) !== after.release)) return;
    this.#isReloading = false;
    void this.#notifier.tell('READY=1', this.#status(after));
  }

  #lookAtWorker(before: Worker | undefined, worker: Worker, after: ReforkState): void {
    const part = this.#crew.get(worker.id);
    if (part === undefined || before === undefined) return;
    if (before.doomed !== 'slow' && worker.doomed === 'slow') part.line?.write('timeout\n');
    const isKilled = (before.phase === 'ready' || before.phase === 'draining') && worker.phase === 'ending';
    const { hardRequestMs, silenceMs } = after.policy;
    const isStuck = worker.oldestMs >= hardRequestMs || after.now - worker.heardAt >= silenceMs;
    const { hooks } = this.#options;
    if (isKilled && isStuck)
      void this.#runHook('afterWorkerHardTimeout', () =>
        hooks.afterWorkerHardTimeout?.(this.#server, workerOf(part)),
      );
  }

  readonly #server = { log: (text: string): void => this.#options.log('info', text) };

  #status(state: ReforkState): string {
    return `STATUS=${readyWorkers(state).length} workers serve at ${this.#addresses().join(', ')}`;
  }

  async #runHook(name: string, run: () => unknown): Promise<void> {
    try {
      await run();
    } catch (error) {
      this.#options.log(
        'warning',
        `${name} failed: ${error instanceof Error ? error.message : String(error)}`,
      );
    }
  }
}

function workerOf({ slot, told, hostPid }: Part): object {
  return { number: slot, generation: told.generation ?? 0, requests: told.requests, pid: hostPid ?? 0 };
}
