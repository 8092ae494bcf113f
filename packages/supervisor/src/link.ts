import type { Readable, Writable } from 'node:stream';
import { setTimeout as delay } from 'node:timers/promises';
import { createRecordReader, encodePlan } from '@forkpoint/manifest';
import type { PlanRecord } from '@forkpoint/manifest';
import { SupervisorError } from './error.ts';

const EAGAIN = 11;
/** Orders wait in a socket's buffer; when it is full the nursery is busy starting others. */
const CHILD_TRIES = 500;
const CHILD_PAUSE_MS = 10;

/** How a `criu dump` ended. */
export interface DumpResult {
  /** Exit status, or `timeout` when it was killed at its limit. */
  readonly status: number | 'timeout';
  readonly elapsedMs: number;
}

interface Waiter<T> {
  readonly resolve: (value: T) => void;
  readonly reject: (error: unknown) => void;
}

/**
 * The worker's connection to the launcher (ARCHITECTURE.md, "The worker and the launcher"). Commands are answered in
 * the order in which they are given. When the launcher closes the connection the program has ended, and everything
 * that waits fails with ERR_FORKPOINT_ENDED.
 */
export class LauncherLink {
  /** Aborted when the program has ended. */
  readonly signal: AbortSignal;
  readonly #out: Writable;
  readonly #abort = new AbortController();
  #hurry = new AbortController();
  #givenUp = new AbortController();
  #nextJob: Waiter<string> | undefined;
  readonly #commands: Waiter<PlanRecord>[] = [];
  #requests: string[] = [];
  #readers: Waiter<string>[] = [];

  constructor(input: Readable, output: Writable) {
    this.#out = output;
    this.signal = this.#abort.signal;
    const reader = createRecordReader();
    input.on('data', (bytes: Uint8Array) => {
      try {
        for (const record of reader.push(bytes)) this.#take(record);
      } catch (error) {
        this.#end(error);
      }
    });
    input.on('end', () => this.#end(ended()));
    input.on('error', (error) => this.#end(error));
    output.on('error', (error) => this.#end(error));
  }

  /** Returns the next request line: the first one, then every `ready` and `cancel`. */
  async nextRequest(): Promise<string> {
    const line = this.#requests.shift();
    if (line !== undefined) return line;
    this.signal.throwIfAborted();
    return await new Promise((resolve, reject) => this.#readers.push({ resolve, reject }));
  }

  /** Says that the request is served, and returns the next one, if any comes. Rejects when the launcher does not wait for one. */
  async nextJob(): Promise<string> {
    this.signal.throwIfAborted();
    return await new Promise((resolve, reject) => {
      this.#nextJob = { resolve, reject };
      this.#send({ key: 'done', fields: [] });
    });
  }

  /** Has the launcher run `criu dump` for at most `limitMs`. */
  async dump(limitMs: number, args: readonly string[]): Promise<DumpResult> {
    const { fields } = await this.#command({ key: 'dump', fields: [String(limitMs), ...args] });
    const [status, elapsed] = fields;
    return { status: status === 'timeout' ? 'timeout' : Number(status), elapsedMs: Number(elapsed) };
  }

  /** Returns `INODE TYPE STATE PEER` of every unix socket of the network namespace; none when the kernel does not tell. */
  async peers(): Promise<readonly string[]> {
    const { key, fields } = await this.#command({ key: 'peers', fields: [] });
    return key === 'peers' ? fields : [];
  }

  /**
   * Takes descriptors of the program, given as a process and a number, for its children. Returns for each its place, or
   * the negative number of an error.
   */
  async take(descriptors: readonly (readonly [pid: number, fd: number])[]): Promise<number[]> {
    const { fields } = await this.#command({ key: 'take', fields: descriptors.flat().map(String) });
    return descriptors.map((_, at) => Number(fields[at] ?? -1));
  }

  /** Starts one child by its plan, with the descriptors at these places. Throws ERR_FORKPOINT_FORK. */
  async child(isDetached: boolean, plan: string, places: readonly number[]): Promise<void> {
    for (let tries = 0; tries < CHILD_TRIES; tries++) {
      const order = [isDetached ? '1' : '0', plan, ...places.map(String)];
      const { key, fields } = await this.#command({ key: 'child', fields: order });
      if (key === 'ok') return;
      if (Number(fields[0]) !== EAGAIN) break;
      await delay(CHILD_PAUSE_MS);
    }
    throw new SupervisorError(
      'ERR_FORKPOINT_FORK',
      'the process that starts children is gone or does not answer',
      {
        hint: 'it was killed; start the program again, by `forkpoint run` or `forkpoint restore`',
      },
    );
  }

  /** Exchanges two directories atomically. */
  async exchange(a: string, b: string): Promise<void> {
    const { key, fields } = await this.#command({ key: 'exchange', fields: [a, b] });
    if (key !== 'ok') {
      throw new SupervisorError(
        'ERR_FORKPOINT_PUBLISH',
        `cannot exchange ${a} and ${b}: errno ${fields[0]}`,
        {
          hint: 'choose a destination that does not exist yet; this file system cannot exchange directories',
        },
      );
    }
  }

  /** Tells the launcher that somebody blocks at a FIFO, so that it answers `failed` should this worker die. */
  waiting(fifo: string): void {
    this.#send({ key: 'waiting', fields: [fifo] });
  }

  /** Delivers one line to whoever opens the FIFO. */
  answer(fifo: string, line: string): void {
    this.#send({ key: 'answer', fields: [fifo, line] });
  }

  /** Tells the launcher that a command outside has its answer, so that it gets no other one should this worker fail or die. */
  answered(): void {
    this.#send({ key: 'answered', fields: [] });
  }

  /** Lets stopped processes go on. */
  resume(pids: readonly number[]): void {
    this.#send({ key: 'resume', fields: pids.map(String) });
  }

  /** Aborted when another request waits for this worker to end, or the launcher wants to end. */
  get hurry(): AbortSignal {
    return this.#hurry.signal;
  }

  /** Aborted when whoever asked from outside has given up: what is not published yet is not wanted any more. */
  get givenUp(): AbortSignal {
    return this.#givenUp.signal;
  }

  /** Asks for time behind the request's end, also behind the program's. */
  linger(): void {
    this.#send({ key: 'linger', fields: [] });
  }

  /** Ends the program: its image is published. */
  stop(): void {
    this.#send({ key: 'stop', fields: [] });
  }

  /** Resolves once everything said so far has reached the launcher's pipe. */
  async flush(): Promise<void> {
    if (this.#out.writableLength === 0) return;
    await new Promise<void>((resolve) => this.#out.write('', () => resolve()));
  }

  #command(record: PlanRecord): Promise<PlanRecord> {
    this.signal.throwIfAborted();
    return new Promise((resolve, reject) => {
      this.#commands.push({ resolve, reject });
      this.#send(record);
    });
  }

  #send(record: PlanRecord): void {
    this.#out.write(encodePlan([record]));
  }

  #take(record: PlanRecord): void {
    if (record.key === 'request') {
      const line = record.fields[0] ?? '';
      const reader = this.#readers.shift();
      if (reader === undefined) this.#requests.push(line);
      else reader.resolve(line);
      return;
    }
    if (record.key === 'next') {
      // What came for the request before, and whoever still waits for more of it, has nothing to do with this one.
      [this.#readers, this.#requests] = [[], []];
      [this.#hurry, this.#givenUp] = [new AbortController(), new AbortController()];
      this.#nextJob?.resolve(record.fields[0] ?? '');
      this.#nextJob = undefined;
    } else if (record.key === 'hurry') this.#hurry.abort(hurried());
    else if (record.key === 'give-up') this.#givenUp.abort(givenUp());
    else this.#commands.shift()?.resolve(record);
  }

  #end(reason: unknown): void {
    if (this.signal.aborted) return;
    this.#abort.abort(reason);
    this.#hurry.abort(reason);
    const waiters = [...this.#commands, ...this.#readers, ...(this.#nextJob ? [this.#nextJob] : [])];
    this.#commands.length = this.#readers.length = 0;
    this.#nextJob = undefined;
    for (const waiter of waiters) waiter.reject(reason);
  }
}

function hurried(): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_HURRY', 'another request came first');
}

function givenUp(): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_CANCELLED', 'it was given up by whoever had asked for it');
}

function ended(): SupervisorError {
  return new SupervisorError('ERR_FORKPOINT_ENDED', 'the program ended before its checkpoint was complete');
}
