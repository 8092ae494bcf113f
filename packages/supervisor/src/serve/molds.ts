import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { rmSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { askCheckpoint, findRun } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import type { Address, Addresses } from './addresses.ts';
import type { ServeOptions } from './options.ts';

/** Where a program wants to listen, and the port of its socket in an image. */
export interface Listening {
  readonly wanted: Address;
  readonly port: number;
}

/** An image that workers start from. */
export interface MadeMold {
  readonly image: string;
  readonly listening: readonly Listening[];
  /** Size on disk. */
  readonly bytes: number;
}

/** Makes the images that workers start from: of a cold start, and of a worker. One at a time. */
export class Molds {
  readonly #options: ServeOptions;
  readonly #directory: string;
  readonly #addresses: Addresses;
  readonly #made = new Map<number, MadeMold>();
  readonly #onReady = new Map<string, (places: unknown) => void>();
  #boot: ChildProcess | undefined;
  #attempts = 0;

  constructor(options: ServeOptions, directory: string, addresses: Addresses) {
    this.#options = options;
    this.#directory = directory;
    this.#addresses = addresses;
  }

  /** Returns an image by its number, unless it is gone. */
  get(mold: number): MadeMold | undefined {
    return this.#made.get(mold);
  }

  /** Gives an image its number. */
  keep(mold: number, made: MadeMold): void {
    this.#made.set(mold, made);
  }

  /** Removes an image. */
  remove(mold: number): void {
    const made = this.#made.get(mold);
    if (made !== undefined) this.discard(made);
    this.#made.delete(mold);
  }

  /** Removes an image that nobody wants any more. */
  discard({ image }: MadeMold): void {
    rmSync(image, { recursive: true, force: true });
  }

  /** Ends a cold start that is under way. */
  kill(): void {
    this.#boot?.kill('SIGKILL');
  }

  /** A program that is being started has told that it listens, and where. */
  ready(run: string, places: unknown): void {
    this.#onReady.get(run)?.(places);
  }

  /**
   * Starts the program, waits until it listens, and makes an image of it, with which it ends.
   * Gives up before the start when `isWanted` no longer holds. Limits are the policy's, by way of `kill`.
   */
  async boot(line: string, isWanted: () => boolean): Promise<MadeMold> {
    const plan = await this.#options.prepare({ FORKPOINT_SERVE: line });
    if (!isWanted()) throw new SupervisorError('ERR_FORKPOINT_ENDED', 'it was given up');
    const run = basename(dirname(plan));
    const ready = new Promise<unknown>((resolve) => this.#onReady.set(run, resolve));
    const boot = spawn(this.#options.launcher, ['run', plan], { stdio: ['ignore', 'inherit', 'inherit'] });
    this.#boot = boot;
    const over = new Promise<string>((resolve) => {
      boot.once('error', (error) => resolve(error.message));
      boot.once('exit', (code, signal) => resolve(signal === null ? `with code ${code}` : `by ${signal}`));
    });
    const failed = over.then((how) => {
      throw new SupervisorError('ERR_FORKPOINT_ENDED', `the program ended ${how} before it listened`);
    });
    try {
      const listening = readPlaces(await Promise.race([ready, failed]));
      for (const { wanted } of listening) this.#addresses.hold(wanted);
      const image = this.#newPath();
      const bytes = await this.#checkpoint(run, image, true);
      await over;
      return { image, listening, bytes };
    } finally {
      this.#onReady.delete(run);
      boot.kill('SIGKILL');
      failed.catch(() => undefined);
    }
  }

  /** Makes an image of a worker, which was started from the image `from` and goes on. */
  async capture(run: string, from: number): Promise<MadeMold> {
    const image = this.#newPath();
    const bytes = await this.#checkpoint(run, image, false);
    const listening = (this.#made.get(from)?.listening ?? []).map(({ wanted }) => ({
      wanted,
      port: wanted.port,
    }));
    return { image, listening, bytes };
  }

  // Not the number of the image: an attempt that was given up may still be under way.
  #newPath(): string {
    return join(this.#directory, `image-${this.#attempts++}`);
  }

  async #checkpoint(run: string, image: string, stop: boolean): Promise<number> {
    const { runs, policy } = this.#options;
    const request = { to: image, cwd: this.#directory, stop, sync: false, timeoutMs: policy.captureMs };
    const answer = await askCheckpoint(await findRun(runs, run), request, { timeoutMs: policy.captureMs });
    if (answer.outcome === 'done') return answer.sizes?.['total'] ?? 0;
    throw new SupervisorError('ERR_FORKPOINT_ENGINE', answer.message ?? 'no image was made');
  }
}

function readPlaces(value: unknown): Listening[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  return list.flatMap((one) => {
    const { wanted, actual } = one as { wanted?: { port?: unknown; host?: unknown }; actual?: unknown };
    const port = Number(actual);
    if (typeof wanted?.port !== 'number' || !Number.isInteger(port)) return [];
    const host = typeof wanted.host === 'string' ? wanted.host : null;
    return [{ wanted: { port: wanted.port === 0 ? port : wanted.port, host }, port }];
  });
}
