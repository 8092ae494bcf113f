import { PARK_LIMIT_MS } from './barrier.ts';
import type { Barrier } from './barrier.ts';
import { OrderedContext } from './context.ts';
import type { ControlDirectory } from './control-directory.ts';
import { CHANGED_EVENT } from './environment.ts';
import type { EnvironmentReads } from './environment.ts';
import { CheckpointException, codeOf, CoreError, messageOf, RestoreException } from './errors.ts';
import { blockers, describe, failureOf, restoreFailure, warn } from './failures.ts';
import { heapFigures, keepAliveUntil, trimWhenIdle } from './process.ts';
import type { Family } from './family.ts';
import { checkpointRequest } from './options.ts';
import type { Reseeder } from './randomness.ts';
import { Rounds } from './round.ts';
import { standUntilAssigned } from './parking.ts';
import { refreshStreams } from './streams.ts';
import type { CheckpointOptions, HookContext, Outcome } from './types.ts';
import type { Answer, Ask } from './wire.ts';
import { MAX_REQUEST_BYTES, releaseOf } from './wire.ts';

/** Time limit for the worker to look at the program, behind other checkpoints that may still be written. */
const PREPARE_LIMIT_MS = 600_000;
/** Time limit for an image to be written, linked and published after the dump. */
const PUBLISH_LIMIT_MS = 1_800_000;
// Taken before the program can replace them with a fake clock.
const { now } = Date;
/** Time limit for the answer to a request of its own that is cancelled. */
const CANCEL_LIMIT_MS = 5_000;

/** What a member needs. */
export interface MemberParts {
  readonly control: ControlDirectory;
  readonly context: OrderedContext;
  readonly reseeder: Reseeder;
  readonly barrier: Barrier;
  readonly liveWorkers: () => number;
  readonly environment: EnvironmentReads;
  readonly family: Family;
}

/** What is special about one request. */
export interface Steps<T> {
  /** Time limit in milliseconds for all threads to stand still. */
  readonly timeoutMs?: number | undefined;
  /** Called right before the threads are stopped; throwing gives the request up. */
  freezing?(): void;
  /** Called as soon as this process runs again, before the after hooks. */
  answered?(answer: Answer): void;
  /** Makes the result, of the first answer and what went wrong after it. */
  conclude(answer: Answer, errors: unknown[]): Promise<T>;
}

/** What one round, from the before hooks to the after hooks, came to. */
interface RoundResult {
  readonly answer: Answer;
  /** What went wrong after the answer: reseeding, working directory, after hooks. */
  readonly errors: unknown[];
}

/** A process that takes part in checkpoints: asks for them, and answers when somebody outside asks. */
export class Member {
  /** Who this run is; changes when the process is restored. */
  identity: HookContext;
  /** Wall clock of the last restore in milliseconds since 1970; -1 before the first. */
  restoreTime = -1;
  readonly #parts: MemberParts;
  readonly #rounds: Rounds;
  readonly #startedAt = Date.now();
  #requests: Promise<unknown> = Promise.resolve();
  #restoredAtMs = 0;
  #restores = 0;
  #changedNames: string[] = [];
  #lastAsk: string | undefined;
  /** The second line after a checkpoint asked for from outside; it has to be gone before the FIFO is used again. */
  #lateAnswer: Promise<unknown> = Promise.resolve();

  constructor(parts: MemberParts) {
    this.#parts = parts;
    this.#rounds = new Rounds(parts.context);
    this.identity = parts.control.readIdentity();
  }

  /** Joins the run and listens for checkpoints asked for from outside; throws when the control directory is unusable. */
  join(): void {
    this.#writeInfo();
    this.#parts.control.send({ op: 'join', pid: process.pid });
    // A handler does not keep the process alive: Node unrefs the handles of signals.
    process.on('SIGURG', () => this.#onAsked());
    process.on('exit', () => {
      try {
        this.#parts.control.leave();
      } catch {
        // The control directory may be gone before its members are; nobody looks for them then.
      }
    });
  }

  /** Milliseconds since the last restore by the monotonic clock; -1 before the first. */
  get uptimeSinceRestore(): number {
    return this.restoreTime === -1 ? -1 : performance.now() - this.#restoredAtMs;
  }

  /** Asks for a checkpoint; `stop` ends this process once the image is published. Requests run one after another. */
  async request(stop: boolean, dest?: string, options: CheckpointOptions = {}): Promise<Outcome> {
    const request = checkpointRequest(stop, dest, options);
    return this.enqueue(request, {
      timeoutMs: options.timeoutMs,
      conclude: (answer, errors) => this.#conclude(answer, errors),
    });
  }

  /** Carries out a request after all earlier ones. */
  async enqueue<T>(request: Readonly<Record<string, unknown>>, steps: Steps<T>): Promise<T> {
    if (this.#rounds.isNested) {
      const message = 'a checkpoint was asked for while the hooks of another one run';
      throw new CheckpointException({ code: 'ERR_FORKPOINT_NESTED', message });
    }
    const result = this.#requests.then(() => this.#carryOut(request, steps));
    // The failure of one request belongs to who made it and must not stop the next.
    this.#requests = result.catch(() => undefined);
    return result;
  }

  async #carryOut<T>(request: Readonly<Record<string, unknown>>, steps: Steps<T>): Promise<T> {
    try {
      await this.#prepare(request);
      const { timeoutMs } = steps;
      const parkUntil = timeoutMs === undefined ? undefined : now() + timeoutMs;
      return await this.#rounds.run(async () => {
        const { answer, errors } = await this.#round(undefined, parkUntil, steps);
        return steps.conclude(answer, errors);
      });
    } catch (error) {
      if (error instanceof CheckpointException || error instanceof RestoreException) throw error;
      throw new CheckpointException({
        code: codeOf(error, 'ERR_FORKPOINT_FAILED'),
        message: `no checkpoint was made: ${messageOf(error)}`,
        errors: [error],
      });
    }
  }

  /** Lets the worker look at the program while it runs; throws what it found. */
  async #prepare(request: Readonly<Record<string, unknown>>): Promise<void> {
    const { control } = this.#parts;
    let sentAt = -1;
    await keepAliveUntil(this.#lateAnswer);
    for (;;) {
      await this.#rounds.whenIdle();
      await control.waitUntilJoined();
      control.listen();
      // A process that was restored while it waited asks again: the launcher of its new pod knows nothing of it.
      if (sentAt !== this.#restores) control.send({ op: 'prepare', pid: process.pid, ...request });
      sentAt = this.#restores;
      const answer = await control.nextAnswer(PREPARE_LIMIT_MS);
      // No answer means that a checkpoint asked for from outside came first and needed the FIFO.
      if (answer === undefined) continue;
      control.stopListening();
      if (answer.outcome === 'prepared') return;
      throw failureOf(answer, []);
    }
  }

  async #conclude(first: Answer, errors: unknown[]): Promise<Outcome> {
    const answer = await this.lastAnswer(first);
    if (answer.outcome === 'failed' || answer.outcome === 'prepared') throw failureOf(answer, errors);
    if (errors.length > 0) throw restoreFailure(errors);
    if (answer.outcome === 'restored') return { outcome: 'restored', ...answer.identity };
    return { outcome: 'continued', image: answer.identity.image ?? first.identity.image ?? '' };
  }

  /** Waits for what follows a first answer, if anything does. */
  async lastAnswer(first: Answer): Promise<Answer> {
    if (!first.isPending) return first;
    const answer = await this.#parts.control.nextAnswer(PUBLISH_LIMIT_MS);
    this.#parts.control.stopListening();
    return answer ?? first;
  }

  /** Before hooks, the checkpoint itself, after hooks. Throws CheckpointException when it did not come to an answer. */
  async #round(
    ask: string | undefined,
    parkUntil?: number,
    steps: Partial<Steps<unknown>> = {},
  ): Promise<RoundResult> {
    const failures = await this.#rounds.before(this.identity);
    const resources = blockers(failures, 'hook');
    let result: RoundResult | undefined;
    if (failures.length > 0) {
      this.#cancel(ask, failures, 'hook');
    } else {
      try {
        this.#assertStillAsked(ask);
        this.#giveUpOr(() => steps.freezing?.());
        result = this.#freeze(ask, parkUntil);
        steps.answered?.(result.answer);
      } catch (error) {
        failures.push(error);
      }
    }
    const after = await this.#rounds.after(this.identity);
    if (result !== undefined) return { answer: result.answer, errors: [...result.errors, ...after] };
    await this.#dropAnswer();
    const errors = [...failures, ...after];
    throw new CheckpointException({
      code: resources.length > 0 ? 'ERR_FORKPOINT_HOOK' : codeOf(errors[0], 'ERR_FORKPOINT_FAILED'),
      message: `no checkpoint was made: ${describe(errors)}`,
      resources,
      errors,
    });
  }

  /** Takes the request back when the step throws. */
  #giveUpOr(step: () => void): void {
    try {
      step();
    } catch (error) {
      this.#cancel(undefined, [error], 'abort');
      throw error;
    }
  }

  #assertStillAsked(ask: string | undefined): void {
    // A `ready` that comes after the worker's time limit would block this thread for nothing.
    if (ask !== undefined && this.#parts.control.readAsk()?.ask !== ask) {
      throw new CoreError(
        'ERR_FORKPOINT_TIMEOUT',
        'the before hooks ended after the time limit of the checkpoint',
      );
    }
  }

  /** Reads the `failed` that a cancelled request of this process is answered with, so that it meets no later one. */
  async #dropAnswer(): Promise<void> {
    try {
      await this.#parts.control.nextAnswer(CANCEL_LIMIT_MS);
    } catch {
      // Nothing came. The caller is about to report the reason of the cancellation, which matters more.
    } finally {
      this.#parts.control.stopListening();
    }
  }

  /**
   * Stops all threads, says so and blocks until the checkpoint is taken. Synchronous from the first line to the last, so
   * that no code of the program runs between the last before hook and the end of reseeding.
   * `parkUntil` is the wall clock, in milliseconds since 1970, at which worker threads have to stand still.
   */
  #freeze(ask: string | undefined, parkUntil?: number): RoundResult {
    const { barrier, control, environment, liveWorkers } = this.#parts;
    environment.stop();
    const hasWorkers = liveWorkers() > 0;
    const errors: unknown[] = [];
    try {
      if (hasWorkers) barrier.park(parkUntil === undefined ? undefined : Math.max(1, parkUntil - now()));
    } catch (error) {
      this.#cancel(ask, [error], 'worker');
      throw error;
    }
    let answer: Answer | undefined;
    try {
      // An answer that came at once would go to the descriptor that is about to be closed, and be lost.
      control.stopListening();
      this.#writeInfo(true);
      control.send({ op: 'ready', pid: process.pid, ...(ask === undefined ? {} : { ask }) });
      answer = control.blockForAnswer();
      if (answer.outcome === 'restored') errors.push(...this.#wake(answer));
    } finally {
      const failed = hasWorkers ? barrier.release(releaseOf(answer)) : 0;
      if (failed > 0) {
        errors.push(new CoreError('ERR_FORKPOINT_RESEED', `${failed} worker threads were not reseeded`));
      }
    }
    errors.push(...this.#tellChanges());
    return { answer, errors };
  }

  /** Makes this process a clone of its own: randomness, environment, working directory, identity. */
  #wake({ isReseeded, identity, cwd, fork }: Answer): unknown[] {
    this.identity = identity;
    this.restoreTime = Date.now();
    this.#restoredAtMs = performance.now();
    this.#restores++;
    this.#lastAsk = undefined;
    const steps = [
      () => this.#parts.family.abandon(),
      () => isReseeded && this.#parts.reseeder.process(),
      () => isReseeded && this.#parts.reseeder.thread(),
      () => cwd !== null && process.chdir(cwd),
      refreshStreams,
      () => this.#writeInfo(),
      () => fork !== null && trimWhenIdle(),
      // Last, so that a clone that stands ready has nothing left to do but this.
      () => fork?.isParked === true && this.#takeOver(),
      () => this.#takeEnvironment(this.identity.env),
    ];
    const errors: unknown[] = [];
    for (const step of steps) {
      try {
        step();
      } catch (error) {
        errors.push(error);
      }
    }
    return errors;
  }

  /** Stands still as a parked clone until somebody needs it. */
  #takeOver(): void {
    this.identity = standUntilAssigned(this.#parts.control, this.identity);
    this.restoreTime = Date.now();
    this.#restoredAtMs = performance.now();
  }

  #takeEnvironment(env: Readonly<Record<string, string>>): void {
    this.#changedNames = Object.keys(env).filter((name) => process.env[name] !== env[name]);
    Object.assign(process.env, env);
  }

  /** Tells the program, once all its threads run again, which variables have other values than before. */
  #tellChanges(): unknown[] {
    const names = this.#changedNames.splice(0);
    if (names.length === 0) return [];
    try {
      const program: NodeJS.EventEmitter = process;
      program.emit(CHANGED_EVENT, names);
      return [];
    } catch (error) {
      return [error];
    }
  }

  #onAsked(): void {
    try {
      const ask = this.#parts.control.readAsk();
      // SIGURG may come for another reason, and more than once for the same checkpoint.
      if (ask === undefined || ask.ask === this.#lastAsk || !ask.pids.includes(process.pid)) return;
      this.#lastAsk = ask.ask;
      if (this.#parts.context.isEmpty() && !this.#rounds.isBusy) {
        const { answer, errors } = this.#freeze(ask.ask, parkUntilOf(ask));
        this.#settle(answer, errors);
      } else {
        void this.#answerAsk(ask);
      }
    } catch (error) {
      // Who asked learns it from `cancel` or from the time limit; the program did not ask and goes on.
      warn(error);
    }
  }

  async #answerAsk(ask: Ask): Promise<void> {
    try {
      const { answer, errors } = await this.#rounds.run(() => this.#round(ask.ask, parkUntilOf(ask)));
      this.#settle(answer, errors);
    } catch (error) {
      // A CheckpointException has been reported to who asked; the program did not ask and goes on.
      if (!(error instanceof CheckpointException)) warn(error);
    }
  }

  #settle(answer: Answer, errors: unknown[]): void {
    if (errors.length > 0) warn(restoreFailure(errors));
    if (!answer.isPending) return;
    // The second line is for who asked; it is read so that the launcher gets rid of it.
    const { control } = this.#parts;
    this.#lateAnswer = control
      .nextAnswer(PUBLISH_LIMIT_MS, true)
      .then((line) => line !== undefined && control.stopListening())
      .catch(() => control.stopListening());
  }

  #cancel(ask: string | undefined, errors: unknown[], kind: string): void {
    const resources = blockers(errors, kind);
    const message = errors.map(messageOf).join('; ').slice(0, 250);
    // JSON may write a character in six bytes; half of the limit for the list leaves room for the message.
    while (Buffer.byteLength(JSON.stringify(resources)) > MAX_REQUEST_BYTES / 2) resources.pop();
    try {
      if (ask === undefined) this.#parts.control.listen();
      const named = ask === undefined ? {} : { ask };
      this.#parts.control.send({ op: 'cancel', pid: process.pid, ...named, message, resources });
    } catch (error) {
      // The caller is about to report what went wrong first; the worker's time limit ends the checkpoint.
      warn(error);
    }
  }

  #writeInfo(isAtHalt = false): void {
    const { pid, ppid, title, argv, version } = process;
    const runtime = { name: 'node', version };
    const who = { v: 1, pid, ppid, runtime, title, argv, hooks: true, startedAt: this.#startedAt };
    const { control, environment } = this.#parts;
    // For the image that is about to be taken.
    const facts = isAtHalt ? { score: heapFigures(), reads: environment.facts() } : {};
    control.writeInfo({ ...who, ...facts });
  }
}

// Who asks from outside may be ready to wait long; a program that stands still for its workers is not.
function parkUntilOf({ until }: Ask): number | undefined {
  return until === undefined ? undefined : Math.min(until, now() + PARK_LIMIT_MS);
}
