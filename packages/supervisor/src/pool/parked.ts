import * as fs from 'node:fs';
import { join } from 'node:path';
import { setTimeout as pause } from 'node:timers/promises';
import type { ForkedChild } from '@forkpoint/core/family';
import { memoryOf } from '@forkpoint/store';
import { SupervisorError } from '../error.ts';
import { prefault, treeOf } from './prefault.ts';

const FIRST_LOOK_MS = 1;
const LONGEST_LOOK_MS = 20;
/** What a FIFO takes at once (pipe(7)); the reader may not have read before the writer returns. */
const LINE_MAX = 65_536;
const PREFAULT_MAX = 512 << 20;

/** A clone that stands at the FIFOs `assign` of its members. */
export class Parked {
  readonly child: ForkedChild;
  readonly parkedAtMs = performance.now();
  privateBytes = 0;
  hasEnded = false;
  readonly #fds: number[];
  readonly #fifos: readonly string[];
  readonly #hostPids: readonly number[];

  private constructor(child: ForkedChild, fifos: readonly string[], fds: number[], hostPids: number[]) {
    this.child = child;
    this.#fifos = fifos;
    this.#fds = fds;
    this.#hostPids = hostPids;
    void child.wait().then(() => (this.hasEnded = true));
  }

  /**
   * Waits until a restored clone stands at all of `fifos`, which are relative to its control directory, and maps its memory.
   * Throws ERR_FORKPOINT_POOL when it does not come there.
   */
  static async at(
    child: ForkedChild,
    runs: string,
    fifos: readonly string[],
    limitMs: number,
  ): Promise<Parked> {
    const paths = fifos.map((fifo) => join(runs, child.id, 'ctl', fifo));
    const fds: number[] = [];
    const deadline = performance.now() + limitMs;
    let delay = FIRST_LOOK_MS;
    let hasEnded = false;
    void child.wait().then(() => (hasEnded = true));
    try {
      for (const path of paths) {
        for (let fd = openWriter(path); ; fd = openWriter(path)) {
          if (fd !== undefined) {
            fds.push(fd);
            break;
          }
          if (hasEnded || performance.now() > deadline) throw notThere(child, limitMs, hasEnded);
          await pause(delay);
          delay = Math.min(delay * 2, LONGEST_LOOK_MS);
        }
      }
    } catch (error) {
      for (const fd of fds) fs.closeSync(fd);
      throw error;
    }
    const hostPids = await treeOf(child.launcherPid);
    await prefault(hostPids, PREFAULT_MAX);
    const parked = new Parked(child, paths, fds, hostPids);
    await parked.measure();
    return parked;
  }

  /** Whether it still stands there. */
  get isHealthy(): boolean {
    if (this.hasEnded) return false;
    return this.#fifos.every((path) => {
      const fd = openWriter(path);
      if (fd !== undefined) fs.closeSync(fd);
      return fd !== undefined;
    });
  }

  /** Looks how much memory it has to itself. */
  async measure(): Promise<void> {
    const all = await Promise.all(this.#hostPids.map(memoryOf));
    this.privateBytes = all.reduce((sum, { privateBytes }) => sum + privateBytes, 0);
  }

  /** Lets it go on; returns false when it is not there any more. Throws ERR_FORKPOINT_POOL for too much text. */
  assign(args: readonly string[], env: Readonly<Record<string, string>>): boolean {
    const line = Buffer.from(`${JSON.stringify({ v: 1, args, env })}\n`);
    if (line.length > LINE_MAX) {
      throw new SupervisorError(
        'ERR_FORKPOINT_POOL',
        `arguments and variables are ${line.length} bytes, over the limit of ${LINE_MAX}`,
      );
    }
    if (this.hasEnded) return false;
    try {
      for (const fd of this.#fds) fs.writeSync(fd, line);
      return true;
    } catch {
      // Nobody reads: it was killed just now.
      return false;
    } finally {
      this.letGo();
    }
  }

  /** Closes what is held of it. */
  letGo(): void {
    for (const fd of this.#fds.splice(0)) fs.closeSync(fd);
  }
}

/** Opens a FIFO whose reader is there; undefined when there is none. */
function openWriter(path: string): number | undefined {
  try {
    return fs.openSync(path, fs.constants.O_WRONLY | fs.constants.O_NONBLOCK);
  } catch {
    // ENXIO: nobody reads (fifo(7)); ENOENT: the clone is gone.
    return undefined;
  }
}

function notThere(child: ForkedChild, limitMs: number, hasEnded: boolean): SupervisorError {
  const how = hasEnded ? 'ended' : `did not stand still within ${limitMs} ms`;
  return new SupervisorError('ERR_FORKPOINT_POOL', `the clone ${child.id} ${how} after its restore`, {
    hint: 'images of a pool are of programs that had loaded forkpoint’s client (Node.js, Java, Python, Ruby), taken without --uncoordinated',
  });
}
