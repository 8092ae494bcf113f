import { Adapters } from './adapters/registry.ts';
import { CoreError, flattenErrors } from './errors.ts';
import type { Context, HookContext, RegisterOptions, Resource } from './types.ts';

/** Time limit of a hook in milliseconds when `register` was given none. */
export const DEFAULT_HOOK_TIMEOUT_MS = 10_000;

// Timers are taken before the program can replace them: a test framework's fake clock must not stop a time limit.
const { setTimeout: startTimer, clearTimeout: stopTimer } = globalThis;
const LONGEST_TIMER_MS = 2 ** 31 - 1;

interface Entry {
  readonly ref: WeakRef<Resource>;
  timeoutMs: number;
}

/** A resource as it takes part in one checkpoint: held strongly from its before hook to its after hook. */
interface Participant {
  readonly resource: Resource;
  readonly timeoutMs: number;
}

/**
 * A context with CRaC's order: before hooks run newest first, after hooks oldest first; every hook runs even when
 * others fail. It is a resource as well, so that contexts can be nested.
 */
export class OrderedContext implements Context, Resource {
  #entries: Entry[] = [];
  #participants: Participant[] | undefined;

  /** Registers a resource weakly; registering it again changes its time limit and keeps its place. */
  register(resource: Resource, options: RegisterOptions = {}): void {
    assertResource(resource);
    const timeoutMs = options.timeoutMs ?? defaultTimeoutMs(resource);
    if (typeof timeoutMs !== 'number' || !(timeoutMs > 0)) {
      throw new RangeError(`timeoutMs must be a number of milliseconds above 0, not ${String(timeoutMs)}`);
    }
    this.#entries = this.#entries.filter((entry) => entry.ref.deref() !== undefined);
    const known = this.#entries.find((entry) => entry.ref.deref() === resource);
    if (known) known.timeoutMs = timeoutMs;
    else this.#entries.push({ ref: new WeakRef(resource), timeoutMs });
  }

  /** Forgets a resource. One that is taking part in a checkpoint still gets its afterRestore. */
  unregister(resource: Resource): boolean {
    const before = this.#entries.length;
    this.#entries = this.#entries.filter((entry) => entry.ref.deref() !== resource);
    return this.#entries.length < before;
  }

  /** Returns whether nobody is registered who has something to do, so that a checkpoint need not wait for anything. */
  isEmpty(): boolean {
    return this.#entries.every(({ ref }) => {
      const resource = ref.deref();
      return resource === undefined || (resource instanceof Adapters && resource.isEmpty());
    });
  }

  /** Runs the before hooks; throws an AggregateError of all failures after the last of them. */
  async beforeCheckpoint(context: HookContext): Promise<void> {
    // The list is taken once: whoever registers while hooks run takes part the next time.
    const participants = this.#entries.flatMap(({ ref, timeoutMs }) => {
      const resource = ref.deref();
      return resource === undefined ? [] : [{ resource, timeoutMs }];
    });
    this.#participants = participants;
    await runAll(participants.toReversed(), 'beforeCheckpoint', context);
  }

  /** Runs the after hooks of those that were told before; throws an AggregateError of all failures. */
  async afterRestore(context: HookContext): Promise<void> {
    const participants = this.#participants ?? [];
    this.#participants = undefined;
    await runAll(participants, 'afterRestore', context);
  }
}

/**
 * Returns a context that can be registered in another one, to give a part of a program an order of its own.
 * Like every resource it is held weakly: keep a reference.
 */
export function createContext(): Context & Resource {
  return new OrderedContext();
}

type HookName = 'beforeCheckpoint' | 'afterRestore';

async function runAll(
  participants: readonly Participant[],
  hook: HookName,
  context: HookContext,
): Promise<void> {
  const errors: unknown[] = [];
  for (const participant of participants) {
    try {
      const result = participant.resource[hook](context);
      if (isThenable(result)) await withLimit(result, participant, hook);
    } catch (error) {
      errors.push(error);
    }
  }
  if (errors.length > 0) throw new AggregateError(flattenErrors(errors), `${hook} failed`);
}

function withLimit(
  result: PromiseLike<unknown>,
  { resource, timeoutMs }: Participant,
  hook: HookName,
): Promise<void> {
  return new Promise((resolve, reject) => {
    // The timer also keeps the process alive while a hook waits for something that does not.
    const timer = startTimer(
      () => {
        const what = `${hook} of ${nameOf(resource)}`;
        reject(new CoreError('ERR_FORKPOINT_HOOK_TIMEOUT', `${what} did not end within ${timeoutMs} ms`));
      },
      Math.min(timeoutMs, LONGEST_TIMER_MS),
    );
    // A late rejection of a hook that ran into its limit ends here as well, and not as an unhandled one.
    result.then(
      () => {
        stopTimer(timer);
        resolve();
      },
      (error: unknown) => {
        stopTimer(timer);
        reject(error);
      },
    );
  });
}

function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof value === 'object' && value !== null && 'then' in value && typeof value.then === 'function';
}

// The hooks inside a nested context have their own limits; one for all of them together would cut them short.
function defaultTimeoutMs(resource: Resource): number {
  return resource instanceof OrderedContext ? Infinity : DEFAULT_HOOK_TIMEOUT_MS;
}

function nameOf(resource: Resource): string {
  const named = 'name' in resource && typeof resource.name === 'string' ? resource.name : '';
  return named || resource.constructor?.name || 'an unnamed resource';
}

function assertResource(resource: unknown): asserts resource is Resource {
  const candidate: { beforeCheckpoint?: unknown; afterRestore?: unknown } =
    typeof resource === 'object' || typeof resource === 'function' ? (resource ?? {}) : {};
  if (typeof candidate.beforeCheckpoint !== 'function' || typeof candidate.afterRestore !== 'function') {
    throw new TypeError('a resource needs the methods beforeCheckpoint and afterRestore');
  }
}
