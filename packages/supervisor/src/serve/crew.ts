import { spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { mkdirSync, writeFileSync } from 'node:fs';
import type { Socket } from 'node:net';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { setTimeout as pause } from 'node:timers/promises';
import { encodeChildPlan } from '@forkpoint/manifest';
import type { Slot } from '@forkpoint/manifest';
import { findRun, newId, readManifest, rootHostPid } from '@forkpoint/store';
import type { Addresses } from './addresses.ts';
import { NO_USAGE, usageOf } from './memory.ts';
import type { Usage } from './memory.ts';
import type { Listening, MadeMold } from './molds.ts';
import type { ServeOptions } from './options.ts';
import { eachLine, lineOf } from './output.ts';
import { NOTHING_TOLD } from './told.ts';
import type { Told } from './told.ts';

/** Workers are measured so often, and at most for one part in so many of the time. */
const MEASURE_MS = 1000;
const MEASURE_SHARE = 100;
const INSPECT_MS = 5000;
/** How long the last lines of a worker that has ended may be under way. */
const LAST_WORDS_MS = 500;
/** A worker whose server is gone answers what it has; its agent takes 5 s at most, and then it is killed (with its whole tree). */
export const ORPHAN_MS = 7000;

/** A worker's process tree, and what is known of it. */
export interface Part {
  readonly worker: number;
  readonly slot: number;
  readonly run: string;
  readonly process: ChildProcess;
  /** The program's own connection. */
  line: Socket | undefined;
  /** The program's first process on this machine, once it is known. */
  hostPid: number | null;
  told: Told;
  usage: Usage;
  /** Whether a debugger may make it stand still, and who waits for its address. */
  isInspected: boolean;
  inspected: ((answer: string) => void) | undefined;
}

/** What happens to workers, for the server. */
export interface CrewEvents {
  over(part: Part, how: string): void;
  measured(part: Part): void;
}

/** The processes of the workers. */
export class Crew {
  readonly #options: ServeOptions;
  readonly #directory: string;
  readonly #addresses: Addresses;
  readonly #events: CrewEvents;
  readonly #parts = new Map<number, Part>();
  /** Those that are just being measured. */
  readonly #measured = new Set<Part>();

  constructor(options: ServeOptions, directory: string, addresses: Addresses, events: CrewEvents) {
    this.#options = options;
    this.#directory = directory;
    this.#addresses = addresses;
    this.#events = events;
  }

  get(worker: number): Part | undefined {
    return this.#parts.get(worker);
  }

  ofRun(run: string): Part | undefined {
    return this.all().find((part) => part.run === run);
  }

  all(): Part[] {
    return [...this.#parts.values()];
  }

  /** Starts a worker from an image. Throws when it cannot be started; whatever happens later is told as an event. */
  async start(worker: number, slot: number, from: MadeMold | undefined): Promise<void> {
    const { home, launcher, logMode, worker: checkpointWorker } = this.#options;
    if (from === undefined) throw new Error('its image is gone');
    const { slots } = await readManifest(from.image);
    const sockets: { id: string; fd: number }[] = [];
    for (const slot of slots) {
      const place = placeOf(slot, from);
      if (place !== undefined)
        sockets.push({ id: slot.id, fd: (await this.#addresses.hold(place.wanted)).fd });
    }
    const id = newId();
    const directory = join(this.#directory, id);
    mkdirSync(directory, { mode: 0o700 });
    const plan = encodeChildPlan({
      id,
      home,
      index: worker,
      isDetached: false,
      stdio: 'inherit',
      socket: this.#path('l'),
      graceMs: ORPHAN_MS,
      inherit: ['stdout', 'stderr', ...sockets.map((one) => one.id)],
      close: [],
      hostname: null,
      args: [from.image, ...this.#assignments(slot)],
      worker: checkpointWorker,
    });
    writeFileSync(join(directory, 'child.plan'), plan, { mode: 0o600 });
    // The first three stay the launcher's own until it takes those of the plan.
    const streams = logMode === 'plain' ? ([1, 2] as const) : (['pipe', 'pipe'] as const);
    const given = [...streams, ...sockets.map(({ fd }) => fd)];
    const numbers = given.map((_, at) => String(at + 3));
    const process = spawn(launcher, ['child', join(directory, 'child.plan'), ...numbers], {
      stdio: ['ignore', 'ignore', 'ignore', ...given],
    });
    const part: Part = {
      worker,
      slot,
      run: id,
      process,
      line: undefined,
      hostPid: null,
      told: NOTHING_TOLD,
      usage: NO_USAGE,
      isInspected: false,
      inspected: undefined,
    };
    this.#carry(part);
    this.#parts.set(worker, part);
    process.once('error', (error) => this.#over(part, error.message));
    process.once('exit', (code, signal) => {
      const how = signal === null ? `with code ${code}` : `by ${signal}`;
      // What it has told last counts, and may still have to be read.
      void closed(part.line).then(() => this.#over(part, how));
    });
  }

  /** Measures all workers again and again, until the signal. */
  async measure(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      const started = performance.now();
      for (const part of this.all()) if (part.line !== undefined) await this.measureOne(part);
      const rest = Math.max(MEASURE_MS, (performance.now() - started) * MEASURE_SHARE);
      // Only the end interrupts the pause.
      await pause(rest, undefined, { signal, ref: false }).catch(() => undefined);
    }
  }

  /** Measures a worker, and finds its pid the first time; nothing happens while that is under way. */
  async measureOne(part: Part): Promise<void> {
    if (this.#measured.has(part)) return;
    this.#measured.add(part);
    try {
      part.hostPid ??= (await rootHostPid(await findRun(this.#options.runs, part.run))) ?? null;
      if (part.hostPid === null) return;
      part.usage = await usageOf(part.hostPid);
      if (this.#parts.has(part.worker)) this.#events.measured(part);
    } catch {
      // It has ended meanwhile, which is told elsewhere.
    } finally {
      this.#measured.delete(part);
    }
  }

  #assignments(slot: number): string[] {
    const { config } = this.#options;
    const env = {
      FORKPOINT_WORKER: String(slot),
      FORKPOINT_SERVE: this.#path('a'),
      ...(config === null ? {} : { FORKPOINT_SERVE_CONFIG: config }),
    };
    return Object.entries(env).flatMap(([name, value]) => ['--env', `${name}=${value}`]);
  }

  /** What a worker writes goes line by line to the server's own streams, unless it has those itself. */
  #carry(part: Part): void {
    const { logMode, write } = this.#options;
    if (logMode === 'plain') return;
    for (const [at, stream] of (['stdout', 'stderr'] as const).entries()) {
      const source = part.process.stdio[at + 3];
      if (source instanceof Readable)
        eachLine(source, (line) => {
          const writer = { worker: part.slot, generation: part.told.generation };
          write(stream, lineOf(logMode, stream, writer, line));
        });
    }
  }

  /** Opens the debugger's port of the worker in a slot, 0 for a free one; returns its address. */
  async inspect(slot: number, port: number): Promise<string> {
    const part = this.all().findLast((one) => one.slot === slot && one.line !== undefined);
    if (part === undefined) throw new Error(`there is no worker ${slot}`);
    part.isInspected = true;
    const answer = new Promise<string>((resolve) => (part.inspected = resolve));
    part.line?.write(`inspect ${port}\n`);
    const late = pause(INSPECT_MS, 'late', { ref: false });
    const text = await Promise.race([answer, late]);
    if (text.startsWith('ws:')) return text;
    part.isInspected = false;
    throw new Error(`worker ${slot} ${text === 'late' ? `did not answer within ${INSPECT_MS} ms` : text}`);
  }

  #path(name: string): string {
    return join(this.#directory, name);
  }

  #over(part: Part, how: string): void {
    if (this.#parts.delete(part.worker)) this.#events.over(part, how);
  }
}

/** Resolves when a connection whose other end is gone is read to its end; soon, should a process of the worker's keep it. */
async function closed(line: Socket | undefined): Promise<void> {
  if (line === undefined || line.destroyed) return;
  const over = new AbortController();
  const late = pause(LAST_WORDS_MS, undefined, { signal: over.signal }).catch(() => undefined);
  await Promise.race([late, new Promise<void>((resolve) => line.once('close', () => resolve()))]);
  over.abort();
}

/** Where the program wants the listener of a slot to be. */
function placeOf(slot: Slot, { listening }: MadeMold): Listening | undefined {
  if (slot.kind === 'unix') return listening.find(({ actual }) => actual === slot.path);
  if (slot.kind !== 'tcp') return undefined;
  return (
    listening.find(({ actual }) => actual === `${slot.address}:${slot.port}`) ??
    listening.find(({ actual }) => actual.endsWith(`:${slot.port}`))
  );
}
