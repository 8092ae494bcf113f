import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { lstatSync, rmSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { askCheckpoint, findRun } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import type { Address, Addresses } from './addresses.ts';
import { forgetOthers, keptPath, noteKept, projectRoot, readKept, readMold } from './kept.ts';
import type { AppKey } from './kept.ts';
import type { ServeOptions } from './options.ts';
import { eachLine, lineOf } from './output.ts';

/** Where a program wants to listen, and how its socket is called in the manifest of an image. */
export interface Listening {
  readonly wanted: Address;
  /** `ADDRESS:PORT`, or a path. */
  readonly actual: string;
}

/** An image that workers start from. */
export interface MadeMold {
  readonly image: string;
  readonly listening: readonly Listening[];
  /** Size on disk. */
  readonly bytes: number;
  /** Whether it stays when no worker needs it any more. */
  readonly isKept: boolean;
}

/** What a program has told when it listened. */
interface Announcement {
  readonly places: unknown;
  readonly reads: readonly string[];
  /** Why it cannot serve. */
  readonly failed: string | null;
}

/** Makes the images that workers start from: of a cold start, and of a worker. One at a time. */
export class Molds {
  readonly #options: ServeOptions;
  readonly #directory: string;
  readonly #addresses: Addresses;
  readonly #made = new Map<number, MadeMold>();
  readonly #onReady = new Map<string, (said: Announcement) => void>();
  /** The last release that an image from before was taken for: when it is broken, the next one is a cold start. */
  #tookFor = -1;
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

  /** Removes an image that nobody wants any more, unless it is kept. */
  discard({ image, isKept }: MadeMold): void {
    if (!isKept) rmSync(image, { recursive: true, force: true });
  }

  /** Ends a cold start that is under way. */
  kill(): void {
    this.#boot?.kill('SIGKILL');
  }

  /** A program that is being started has told that it listens, and where. */
  ready(run: string, said: Announcement): void {
    this.#onReady.get(run)?.(said);
  }

  /**
   * Returns the image that a release starts from and how it came about: one that was given or kept, else one of a cold
   * start. Gives up before the start when `isWanted` no longer holds. Limits are the policy's, by way of `kill`.
   */
  async boot(
    release: number,
    isFresh: boolean,
    isWanted: () => boolean,
  ): Promise<{ made: MadeMold; source: string }> {
    const isFirst = this.#tookFor !== release;
    this.#tookFor = release;
    const { from, keyOf, home, preflight } = this.#options;
    if (from !== null && isFirst && !isFresh) {
      const given = await readMold(home, from, preflight);
      if (typeof given !== 'string') return await this.#taken(given, `the image ${from}`);
      this.#options.log('warning', `the image ${from} cannot be used: ${given}; the program is started anew`);
    }
    const key = isFresh ? null : ((await keyOf?.()) ?? null);
    if (key !== null && isFirst) {
      const kept = await readKept(home, keptPath(home, key), preflight);
      if (typeof kept !== 'string')
        return await this.#taken(
          kept,
          `an earlier start, as nothing has changed since (${basename(kept.image)})`,
        );
    }
    return { made: await this.#coldStart(key, isWanted), source: 'a cold start' };
  }

  async #taken(made: MadeMold, source: string): Promise<{ made: MadeMold; source: string }> {
    for (const { wanted } of made.listening) await this.#addresses.hold(wanted);
    return { made, source };
  }

  /** Starts the program, waits until it listens, and makes an image of it, with which it ends. */
  async #coldStart(key: AppKey | null, isWanted: () => boolean): Promise<MadeMold> {
    const plan = await this.#options.prepare({
      FORKPOINT_SERVE: join(this.#directory, 'a'),
      FORKPOINT_SERVE_ZEROS: this.#addresses.zeros.join(','),
      ...(this.#options.config === null ? {} : { FORKPOINT_SERVE_CONFIG: this.#options.config }),
    });
    if (!isWanted()) throw new SupervisorError('ERR_FORKPOINT_ENDED', 'it was given up');
    const run = basename(dirname(plan));
    const ready = new Promise<Announcement>((resolve) => this.#onReady.set(run, resolve));
    const boot = this.#spawn(plan);
    const over = new Promise<string>((resolve) => {
      boot.once('error', (error) => resolve(error.message));
      boot.once('exit', (code, signal) => resolve(signal === null ? `with code ${code}` : `by ${signal}`));
    });
    const failed = over.then((how) => {
      throw new SupervisorError('ERR_FORKPOINT_ENDED', `the program ended ${how} before it listened`);
    });
    const listening: Listening[] = [];
    try {
      const { places, reads, failed: why } = await Promise.race([ready, failed]);
      if (why !== null) throw new SupervisorError('ERR_FORKPOINT_CONFIG', why);
      const known = this.#addresses.zeros.length;
      listening.push(...readPlaces(places, this.#addresses.zeros));
      // The program has a port that it was given by the kernel until it ends, and another start is given another one.
      const hasZeros = this.#addresses.zeros.length > 0;
      for (const { wanted } of listening)
        if (!this.#addresses.zeros.slice(known).some((port) => 'port' in wanted && wanted.port === port))
          await this.#addresses.hold(wanted);
      const made = await this.#image(run, listening, { key: hasZeros ? null : key, reads });
      await over;
      for (const { wanted } of listening) await this.#addresses.hold(wanted);
      return made;
    } finally {
      for (const { actual, wanted } of listening) if ('path' in wanted) rmSync(actual, { force: true });
      this.#onReady.delete(run);
      boot.kill('SIGKILL');
      failed.catch(() => undefined);
    }
  }

  #spawn(plan: string): ChildProcess {
    const { launcher, logMode, write } = this.#options;
    const kind = logMode === 'plain' ? 'inherit' : 'pipe';
    const boot = spawn(launcher, ['run', plan], { stdio: ['ignore', kind, kind] });
    this.#boot = boot;
    const nobody = { worker: null, generation: null };
    for (const stream of ['stdout', 'stderr'] as const) {
      const source = boot[stream];
      if (source !== null) eachLine(source, (line) => write(stream, lineOf(logMode, stream, nobody, line)));
    }
    return boot;
  }

  /** Makes the image of a cold start, at a place where the next start finds it when it has a key. */
  async #image(
    run: string,
    listening: readonly Listening[],
    { key, reads }: { key: AppKey | null; reads: readonly string[] },
  ): Promise<MadeMold> {
    const { home, command, cwd } = this.#options;
    if (key === null) {
      const image = this.#newPath();
      return { image, listening, bytes: await this.#checkpoint(run, image, true), isKept: false };
    }
    const image = keptPath(home, key);
    await mkdir(dirname(image), { recursive: true, mode: 0o700 });
    const bytes = await this.#checkpoint(run, image, true);
    await noteKept(home, image, { listening, reads, root: await projectRoot(command, cwd) });
    await forgetOthers(home, key, new Set([...this.#made.values()].map((one) => one.image)));
    return { image, listening, bytes, isKept: true };
  }

  /** Makes an image of a worker, which was started from the image `from` and goes on. */
  async capture(run: string, from: number): Promise<MadeMold> {
    const image = this.#newPath();
    const bytes = await this.#checkpoint(run, image, false);
    const before = this.#made.get(from)?.listening ?? [];
    const listening = before.map(async ({ wanted }) => {
      const { actual } = await this.#addresses.hold(wanted);
      return { wanted, actual };
    });
    return { image, listening: await Promise.all(listening), bytes, isKept: false };
  }

  // Not the number of the image: an attempt that was given up may still be under way.
  #newPath(): string {
    return join(this.#directory, `image-${this.#attempts++}`);
  }

  async #checkpoint(run: string, image: string, stop: boolean): Promise<number> {
    const { runs, policy } = this.#options;
    const request = { to: image, cwd: this.#directory, stop, sync: false, timeoutMs: policy.captureMs };
    const answer = await askCheckpoint(await findRun(runs, run), request, { timeoutMs: policy.captureMs });
    if (answer.outcome !== 'done')
      throw new SupervisorError('ERR_FORKPOINT_ENGINE', answer.message ?? 'no image was made');
    return answer.sizes?.['total'] ?? 0;
  }
}

/** Ports that were asked for as 0 stay those of the first start. */
function readPlaces(value: unknown, zeros: number[]): Listening[] {
  const list: unknown[] = Array.isArray(value) ? value : [];
  let zero = 0;
  return list.flatMap((one): Listening[] => {
    const { wanted, actual } = one as {
      wanted?: { port?: unknown; host?: unknown; path?: unknown };
      actual?: unknown;
    };
    if (typeof actual !== 'string') return [];
    if (typeof wanted?.path === 'string') {
      // The program may have set it.
      const mode = (lstatSync(actual, { throwIfNoEntry: false })?.mode ?? 0o755) & 0o777;
      return [{ wanted: { path: wanted.path, mode }, actual }];
    }
    if (typeof wanted?.port !== 'number') return [];
    const host = typeof wanted.host === 'string' ? wanted.host : null;
    const port = wanted.port === 0 ? (zeros[zero] ??= Number(actual)) : wanted.port;
    if (wanted.port === 0) zero++;
    return [{ wanted: { port, host }, actual: `127.0.0.1:${actual}` }];
  });
}
