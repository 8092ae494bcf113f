import { mkdirSync, renameSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { decodeEnginePlan, parseRequest, serializeOutcome } from '@forkpoint/manifest';
import type { Outcome, OutcomeFacts, Request, Resource } from '@forkpoint/manifest';
import { readFileSync } from 'node:fs';
import { placesAt } from '@forkpoint/store';
import { report, takeCheckpoint } from './checkpoint.ts';
import type { Job, Taken } from './checkpoint.ts';
import { digestLater, expectDigests } from './digest.ts';
import { flattenLater, mayNeedFlattening } from './flatten-later.ts';
import { takeFork } from './fork.ts';
import type { Forked } from './fork.ts';
import { LauncherLink } from './link.ts';
import type { Member } from './members.ts';
import { strangersOf } from './strangers.ts';
import { readSurroundings } from './surroundings.ts';
import type { Surroundings } from './surroundings.ts';

declare const FORKPOINT_VERSION: string;

/** A failure as it is told to the asker. */
interface Failure {
  readonly code: string;
  readonly message: string;
  readonly hint?: string;
  readonly resources?: readonly Resource[];
}

/** Requests that one worker serves at most: whatever it should leak is gone with it. */
const SERVED_MAX = 200;

/**
 * Serves a checkpoint request, and after a fork the ones that follow soon, and returns the exit code. The launcher has started
 * this process in the pod; the program's fate never depends on it: when it dies, the launcher answers `failed` to whoever waits.
 */
export async function main(): Promise<number> {
  const link = new LauncherLink(process.stdin, process.stdout);
  let line = await link.nextRequest();
  for (let served = 1; ; served++) {
    const request = parseRequest(line);
    const code = await serve(link, request);
    if (code !== 0 || !isFork(request) || served === SERVED_MAX) return code;
    try {
      line = await link.nextJob();
    } catch {
      // The launcher has let go of it.
      return 0;
    }
  }
}

function isFork({ op, count }: Request): boolean {
  return op === 'fork' || count !== undefined;
}

async function serve(link: LauncherLink, request: Request): Promise<number> {
  const surroundings = readSurroundings(process.env);
  const job: Job = {
    link,
    request,
    surroundings,
    versions: { criu: criuVersion(surroundings.home), forkpoint: FORKPOINT_VERSION },
    ready: new Set<Member>(),
    blockedAsker: request.op !== 'prepare' && request.pid !== 0 ? 'outcome' : null,
  };
  // Looked for while nobody waits yet; whoever wants no coordination knows.
  const voice = new Voice(job, request.uncoordinated === true ? [] : strangersOf(surroundings));
  try {
    if (request.dryRun === true) {
      voice.reported((await report(job)).findings);
    } else if (isFork(request)) {
      voice.forked(
        await takeFork(job, {
          prepared: () => voice.prepared(),
          resumed: () => voice.resumed(),
        }),
      );
    } else {
      const taken = await takeCheckpoint(job, {
        prepared: () => voice.prepared(),
        resumed: () => voice.resumed(),
      });
      voice.published(taken);
      const mayNeed = request.link !== false && mayNeedFlattening(taken.image, surroundings);
      link.linger();
      if (request.stop === true) link.stop();
      await link.flush();
      expectDigests(taken.image, surroundings);
      const isPacked = request.compress !== undefined;
      if (mayNeed && !isPacked)
        await flattenLater(taken.image, { link, surroundings, sync: request.sync !== false });
      await digestLater(taken.image, surroundings, link.hurry);
    }
    await link.flush();
    return 0;
  } catch (error) {
    process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
    voice.failed(failureOf(error));
    await link.flush();
    return 1;
  }
}

function criuVersion(home: string): string {
  return decodeEnginePlan(readFileSync(placesAt(home).enginePlan)).version;
}

function failureOf(error: unknown): Failure {
  if (!(error instanceof Error)) return { code: 'ERR_FORKPOINT_INTERNAL', message: String(error) };
  const code = 'code' in error && typeof error.code === 'string' ? error.code : 'ERR_FORKPOINT_INTERNAL';
  const hint = 'hint' in error && typeof error.hint === 'string' ? error.hint : undefined;
  const resources =
    'resources' in error && Array.isArray(error.resources) ? (error.resources as Resource[]) : [];
  return { code, message: error.message, resources, ...(hint === undefined ? {} : { hint }) };
}

/** Says what happened to everybody who waits: members, a plain asker, and a command outside. */
class Voice {
  readonly #job: Job;
  readonly #facts: OutcomeFacts;
  readonly #warnings: readonly string[];
  #isResumed = false;

  constructor(job: Job, warnings: readonly string[]) {
    this.#job = job;
    this.#warnings = warnings;
    const { identity } = job.surroundings;
    this.#facts = {
      id: identity.id,
      image: identity.image,
      parentId: identity.parentId,
      generation: identity.generation,
      index: null,
      args: [],
      env: {},
      cwd: null,
      elapsedMs: 0,
    };
  }

  prepared(): void {
    const { request } = this.#job;
    if (request.op === 'prepare')
      this.#tell(this.#fifoOf(request.pid), { ...this.#head(), outcome: 'prepared' });
  }

  /** Members run again at once; what becomes of the image they hear when it is published. */
  resumed(): void {
    this.#isResumed = true;
    for (const member of this.#job.ready) {
      const pending = member.pid === this.#announced();
      this.#tell(member.outcome, { ...this.#head(), outcome: 'continued', ...(pending ? { pending } : {}) });
      // It waits for a second line, which the launcher gives should this worker die.
      if (pending) this.#job.link.waiting(member.outcome);
    }
  }

  published(taken: Taken): void {
    const { request } = this.#job;
    const image = { ...this.#head(), image: taken.image };
    if (request.stop !== true) {
      const announced = this.#announced();
      if (announced !== null) this.#tell(this.#fifoOf(announced), { ...image, outcome: 'published' });
      if (this.#job.blockedAsker !== null) this.#tell(this.#plainFifo(), { ...image, outcome: 'continued' });
    }
    const { manifest, sizes, times } = taken;
    this.#result({
      v: 1,
      outcome: 'done',
      image: taken.image,
      id: manifest.id,
      generation: manifest.generation,
      sizes,
      times,
    });
  }

  /** All children are on their way. */
  forked({ children, times }: Forked): void {
    // For the launcher's log; `npm run bench -- fork` reads it.
    process.stderr.write(`forkpoint: a fork froze the program for ${times.frozen} ms\n`);
    const announced = this.#announced();
    if (announced !== null)
      this.#tell(this.#fifoOf(announced), { ...this.#head(), outcome: 'published', children });
    if (this.#job.blockedAsker !== null)
      this.#tell(this.#plainFifo(), { ...this.#head(), outcome: 'continued', children });
    this.#result({ v: 1, outcome: 'done', children, times });
  }

  reported(findings: readonly Resource[]): void {
    const failure = {
      code: 'ERR_FORKPOINT_CANNOT_CHECKPOINT',
      message: `${findings.length} things stand in the way of a checkpoint`,
      resources: findings,
    };
    if (this.#job.blockedAsker !== null || this.#announced() !== null) {
      this.failed(
        findings.length === 0
          ? { code: 'ERR_FORKPOINT_DRY_RUN', message: 'nothing stands in the way of a checkpoint' }
          : failure,
      );
      return;
    }
    this.#result(findings.length === 0 ? { v: 1, outcome: 'done' } : { v: 1, outcome: 'failed', ...failure });
  }

  failed(failure: Failure): void {
    const outcome: Outcome = { ...this.#head(), outcome: 'failed', ...failure };
    const announced = this.#announced();
    const fifos = new Set(this.#isResumed ? [] : [...this.#job.ready].map((member) => member.outcome));
    if (announced !== null) fifos.add(this.#fifoOf(announced));
    if (this.#job.blockedAsker !== null) fifos.add(this.#plainFifo());
    for (const fifo of fifos) this.#tell(fifo, outcome);
    this.#result({ v: 1, outcome: 'failed', ...failure });
  }

  #head(): { v: 1 } & OutcomeFacts {
    return { v: 1, ...this.#facts };
  }

  /** The member that announced this checkpoint itself. */
  #announced(): number | null {
    const { op, pid } = this.#job.request;
    return op === 'prepare' ? pid : null;
  }

  #fifoOf(pid: number): string {
    return join(this.#job.surroundings.controlDirectory, 'members', String(pid), 'outcome');
  }

  #plainFifo(): string {
    return join(this.#job.surroundings.controlDirectory, 'outcome');
  }

  #tell(fifo: string, outcome: Outcome): void {
    this.#job.link.answer(fifo, serializeOutcome(outcome));
  }

  /** Answers a command outside, which watches the results directory. */
  #result(value: object): void {
    const { link, request, surroundings } = this.#job;
    const warned = this.#warnings.length === 0 ? value : { ...value, warnings: this.#warnings };
    if (request.ask === undefined || request.pid !== 0) return;
    writeResult(surroundings, request, warned);
    link.answered();
  }
}

function writeResult(surroundings: Surroundings, request: Request, value: object): void {
  const directory = join(surroundings.runDirectory, 'results');
  mkdirSync(directory, { recursive: true, mode: 0o700 });
  const path = join(directory, `${request.ask}.json`);
  writeFileSync(`${path}.new`, `${JSON.stringify(value)}\n`, { mode: 0o600 });
  renameSync(`${path}.new`, path);
}
