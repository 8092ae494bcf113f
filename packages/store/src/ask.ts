import { randomBytes } from 'node:crypto';
import { constants, watch } from 'node:fs';
import { open, readFile, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import {
  CheckFailure,
  dictionary,
  integer,
  list,
  object,
  oneOf,
  partial,
  resourceList,
  serializeRequest,
  text,
} from '@forkpoint/manifest';
import type { Check, Request, Resource } from '@forkpoint/manifest';
import { errnoOf, reasonOf, StoreError } from './error.ts';
import { gone } from './processes.ts';
import { isLauncherAlive, readRun } from './runs.ts';
import type { Run } from './runs.ts';

/** What a checkpoint that was asked for from outside came to. */
export interface Answer {
  readonly v: 1;
  readonly outcome: 'done' | 'failed';
  /** Directory of the image. */
  readonly image?: string;
  readonly id?: string;
  readonly generation?: number;
  /** Bytes by what they belong to; `total` is the whole image. */
  readonly sizes?: Readonly<Record<string, number>>;
  /** Milliseconds by step; `total` is the whole. */
  readonly times?: Readonly<Record<string, number>>;
  readonly code?: string;
  readonly message?: string;
  readonly hint?: string;
  readonly resources?: readonly Resource[];
  readonly report?: unknown;
  /** What did not stand in the way, but should be known. */
  readonly warnings?: readonly string[];
  /** Ids of the runs that the children of a fork become. */
  readonly children?: readonly string[];
}

/** How long a question waits: until the abort signal or the limit, in milliseconds. */
export interface WaitOptions {
  readonly timeoutMs: number;
  readonly signal?: AbortSignal;
}

/** A write of at most PIPE_BUF bytes to a FIFO is atomic (pipe(7)); longer lines could mix with those of others. */
const PIPE_BUF = 4096;
const MAX_ANSWER_BYTES = 16 << 20;
const POLL_MS = 200;
/** Longest time for a checkpoint to be given up: CRIU has 20 s to let the program go. */
const GIVE_UP_MS = 30_000;

const count: Check<number> = (value, where) => {
  if (typeof value !== 'number' || !Number.isFinite(value) || value < 0)
    throw new CheckFailure(`${where} is not a number`);
  return value;
};
const numbers = dictionary(count, 256, /^[A-Za-z0-9_.-]+$/);
const answerNeeds = object({ v: oneOf(1), outcome: oneOf('done', 'failed') });
const answerMay = {
  image: text(4096),
  id: text(64),
  generation: integer(0),
  sizes: numbers,
  times: numbers,
  code: text(256),
  message: text(1 << 20),
  hint: text(65_536),
  resources: resourceList,
  report: (value: unknown): unknown => value,
  warnings: list(text(4096), 1000),
  children: list(text(64), 1000),
};

/**
 * Asks a living run for a checkpoint, or for children when there is a `count`, and returns the answer, also when the checkpoint failed.
 * The abort signal takes the request back: the answer is then ERR_FORKPOINT_CANCELLED, or what was done before.
 * Throws ERR_FORKPOINT_RUN_GONE, ERR_FORKPOINT_TIMEOUT, ERR_FORKPOINT_CANCELLED (nobody has answered to the abort, and it may go on) and ERR_FORKPOINT_ANSWER.
 */
export async function askCheckpoint(
  run: Run,
  request: Omit<Request, 'v' | 'op' | 'pid' | 'ask'>,
  options: WaitOptions,
): Promise<Answer> {
  const ask = randomBytes(8).toString('hex');
  const line = serializeRequest({
    ...request,
    v: 1,
    op: request.count === undefined ? 'checkpoint' : 'fork',
    pid: 0,
    ask,
  });
  if (Buffer.byteLength(line) > PIPE_BUF) {
    throw new StoreError('ERR_FORKPOINT_ANSWER', `the request is longer than ${PIPE_BUF} bytes`, {
      hint: 'Give fewer or shorter labels',
    });
  }
  const results = join(run.dir, 'results');
  const file = join(results, `${ask}.json`);
  const deadline = Date.now() + options.timeoutMs;
  await send(run, line, deadline);
  const isAnswered = async (): Promise<boolean> => {
    if (await exists(file)) return true;
    if (await isLauncherAlive(run)) return false;
    // The launcher may have written the answer as its last act.
    if (await exists(file)) return true;
    throw gone(await readRun(run.dir).catch(() => run));
  };
  const what = `the checkpoint of \`${run.name}\``;
  try {
    await waitUntil(results, isAnswered, { what, deadline, signal: options.signal });
  } catch (error) {
    if (errnoOf(error) !== 'ERR_FORKPOINT_CANCELLED') throw error;
    await send(run, serializeRequest({ v: 1, op: 'cancel', pid: 0, ask }), deadline);
    const until = Math.min(deadline, Date.now() + GIVE_UP_MS);
    await waitUntil(results, isAnswered, { what, deadline: until, signal: undefined }).catch(() => {
      throw error;
    });
  }
  return await takeAnswer(file);
}

/** Waits until a run has ended and returns its exit code, or null when its launcher was killed. Throws ERR_FORKPOINT_TIMEOUT and ERR_FORKPOINT_CANCELLED. */
export async function waitForExit(run: Run, options: Partial<WaitOptions> = {}): Promise<number | null> {
  let exitCode: number | null = null;
  await waitUntil(
    run.dir,
    async () => {
      const now = await readRun(run.dir);
      exitCode = now.exitCode;
      return !now.isAlive;
    },
    {
      what: `the end of \`${run.name}\``,
      deadline: Date.now() + (options.timeoutMs ?? Number.POSITIVE_INFINITY),
      signal: options.signal,
    },
  );
  return exitCode;
}

async function send(run: Run, line: string, deadline: number): Promise<void> {
  const fifo = join(run.dir, 'ctl', 'request');
  try {
    const handle = await open(fifo, constants.O_WRONLY | constants.O_NONBLOCK);
    try {
      if (!(await handle.stat()).isFIFO())
        throw new StoreError('ERR_FORKPOINT_RUN_INVALID', `${fifo} is not a FIFO`);
      for (;;) {
        try {
          await handle.write(line);
          return;
        } catch (error) {
          if (errnoOf(error) !== 'EAGAIN' || Date.now() > deadline) throw error;
          // The launcher has 64 KiB of requests before this one; there is no event to wait for on the writing side.
          await delay(10);
        }
      }
    } finally {
      await handle.close();
    }
  } catch (cause) {
    if (cause instanceof StoreError) throw cause;
    // ENXIO: nobody has the FIFO open for reading (fifo(7)).
    if (errnoOf(cause) === 'ENXIO' || errnoOf(cause) === 'ENOENT') throw gone(run, cause);
    throw new StoreError(
      'ERR_FORKPOINT_RUN_GONE',
      `the run \`${run.name}\` cannot be asked: ${reasonOf(cause)}`,
      { cause },
    );
  }
}

/** Calls `isDone` when something changes in a directory, and every 200 ms because launchers die without a change. */
async function waitUntil(
  directory: string,
  isDone: () => Promise<boolean>,
  options: { what: string; deadline: number; signal: AbortSignal | undefined },
): Promise<void> {
  let wake: () => void = () => undefined;
  // A change that comes while isDone still looks must not be slept through.
  let hasChanged = false;
  // Errors of the watch, such as a full inotify table, leave the polling.
  const watcher = openWatch(directory, () => {
    hasChanged = true;
    wake();
  });
  try {
    while (!(await isDone())) {
      if (options.signal?.aborted === true) {
        throw new StoreError('ERR_FORKPOINT_CANCELLED', `waiting for ${options.what} was given up`);
      }
      const leftMs = options.deadline - Date.now();
      if (leftMs <= 0) throw new StoreError('ERR_FORKPOINT_TIMEOUT', `${options.what} did not come in time`);
      if (hasChanged) {
        hasChanged = false;
        continue;
      }
      await new Promise<void>((resolve) => {
        const timer = setTimeout(done, Math.min(leftMs, POLL_MS));
        options.signal?.addEventListener('abort', done, { once: true });
        wake = done;
        function done(): void {
          clearTimeout(timer);
          options.signal?.removeEventListener('abort', done);
          resolve();
        }
      });
    }
  } finally {
    watcher?.close();
  }
}

function openWatch(directory: string, onChange: () => void): { close(): void } | undefined {
  try {
    const watcher = watch(directory, onChange);
    watcher.on('error', () => watcher.close());
    return watcher;
  } catch {
    // Polling alone is enough, only slower.
    return undefined;
  }
}

async function exists(file: string): Promise<boolean> {
  try {
    await stat(file);
    return true;
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return false;
    throw error;
  }
}

async function takeAnswer(file: string): Promise<Answer> {
  try {
    if ((await stat(file)).size > MAX_ANSWER_BYTES) throw new CheckFailure('it is too long');
    const value: unknown = JSON.parse(await readFile(file, 'utf8'));
    const answer = { ...answerNeeds(value, ''), ...partial(answerMay)(value, '') };
    await rm(file, { force: true });
    return answer;
  } catch (cause) {
    const problem = cause instanceof Error ? cause.message : String(cause);
    throw new StoreError('ERR_FORKPOINT_ANSWER', `the answer in ${file} is not usable: ${problem}`, {
      cause,
    });
  }
}
