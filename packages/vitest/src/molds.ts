import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import { readdir, rm, stat, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { CloneMaker } from '@forkpoint/supervisor/host';
import type { Hub } from './hub.ts';
import { choose, decodeLearned, encodeLearned, NOTHING, withFile, withUnfit } from './learned.ts';
import type { Learned } from './learned.ts';
import type { ImportId, Unfit } from './messages.ts';
import { findMold, makeMold, RehearsalError } from './mold.ts';
import type { Mold, MoldOrder } from './mold.ts';
import { changedOf } from './stamps.ts';
import type { StartMessage, WorkerOptions } from './vitest-types.ts';

/** Molds that stay on the disk, of all projects together; those that were not used for the longest time go. */
const MOLDS_MAX = 12;
/** Molds that are made one after the other until one has no unfit import. */
const ROUNDS_MAX = 4;
/** Test files that have to tell what they import before a mold is made better while tests run. */
const ENOUGH_FILES = 2;
/** Environments of Vitest itself, which ask Vitest for nothing while they are made. */
const QUIET = ['node', 'jsdom', 'happy-dom', 'edge-runtime'];
/** Variables that differ from call to call and that no package makes anything of when it is loaded. */
const PASSING =
  /^(_|SHLVL|PWD|OLDPWD|COLUMNS|LINES|WINDOWID|TERM_SESSION_ID|SSH_\w+|GPG_TTY|XDG_SESSION_ID|VITEST_\w+|npm_lifecycle_\w+|npm_config_\w+|npm_package_\w+|npm_command|npm_execpath|npm_node_execpath|FORKPOINT_\w+)$/;

/** What the user says about imports. */
export interface ImportRules {
  readonly include: readonly ImportId[];
  readonly isWanted: (id: ImportId) => boolean;
}

/** All molds of this process. */
export class Molds {
  readonly #maker: CloneMaker;
  readonly #hub: Hub;
  readonly #root: string;
  readonly #rules: ImportRules;
  readonly #ownDigest: string;
  readonly #families = new Map<string, Family>();
  readonly #over = new AbortController();

  constructor(maker: CloneMaker, hub: Hub, rules: ImportRules) {
    this.#maker = maker;
    this.#hub = hub;
    this.#rules = rules;
    this.#root = join(maker.places.cache, 'vitest');
    // What an older forkpoint found unfit may be fit for this one.
    this.#ownDigest = digestOf(readFileSync(join(maker.library, 'dist', 'vitest-mold.cjs'), 'utf8'));
    process.once('exit', () => {
      for (const family of this.#families.values()) family.save();
    });
  }

  /** Returns the family of molds that a worker may come from. */
  familyOf(options: WorkerOptions, start: StartMessage): Family {
    const key = digestOf([this.#ownDigest, ...groundOf(options, start)]);
    const known = this.#families.get(key);
    if (known !== undefined) return known;
    // What files import does not hang on variables, and a mold is checked for them anyway.
    const project = digestOf([this.#ownDigest, ...projectOf(options, start)]);
    const family = new Family(
      {
        maker: this.#maker,
        hub: this.#hub,
        root: this.#root,
        rules: this.#rules,
        over: this.#over.signal,
        key,
        project,
      },
      options,
    );
    this.#families.set(key, family);
    const { vitest } = options.project;
    vitest.onTestsRerun(() => family.doubt());
    vitest.onClose(async () => {
      this.#over.abort();
      await family.settled();
    });
    return family;
  }
}

interface FamilyParts {
  readonly maker: CloneMaker;
  readonly hub: Hub;
  readonly root: string;
  readonly rules: ImportRules;
  /** Aborted when Vitest is about to end: nobody will use what is still being made. */
  readonly over: AbortSignal;
  readonly key: string;
  readonly project: string;
}

/** Molds that differ in their imports only: of one project, environment and Node.js. */
export class Family {
  readonly #parts: FamilyParts;
  readonly #options: WorkerOptions;
  readonly #files: readonly string[];
  readonly #recordPath: string;
  #learned: Learned;
  #isNews = false;
  #fresh = 0;
  #mold: Promise<Mold> | undefined;
  #better: Promise<void> | undefined;
  #isDoubted = false;
  #rehearses = true;

  constructor(parts: FamilyParts, options: WorkerOptions) {
    this.#parts = parts;
    this.#options = options;
    this.#recordPath = join(parts.root, `${parts.project}.learned.json`);
    this.#learned = readLearned(this.#recordPath);
    this.#files = [process.execPath, ...locksOf(options.distPath)];
  }

  /** Returns a mold for the next test file; makes one when there is none. Throws why none can be made. */
  async mold(start: StartMessage, asks: MoldOrder['asks']): Promise<Mold> {
    if (this.#isDoubted && this.#mold !== undefined) {
      this.#isDoubted = false;
      const current = this.#mold;
      const { stamps } = await current;
      // Somebody else may have found out meanwhile.
      if ((await changedOf(stamps)) !== undefined && this.#mold === current) this.#mold = undefined;
    }
    this.#mold ??= this.#findOrMake(start, asks);
    const mold = await this.#mold;
    this.#improve(mold, start);
    return mold;
  }

  /** Files may have changed. */
  doubt(): void {
    this.#isDoubted = true;
  }

  /** Resolves when no mold is being made. Never rejects. */
  async settled(): Promise<void> {
    await Promise.allSettled([this.#mold, this.#better]);
  }

  /** Remembers what a test file imports. */
  learn(file: string, imports: readonly ImportId[]): void {
    this.#learned = withFile(this.#learned, file, imports);
    this.#fresh++;
    this.#isNews = true;
  }

  /** Keeps what was learned for the next time. Synchronous: the process ends. */
  save(): void {
    if (!this.#isNews) return;
    this.#isNews = false;
    try {
      mkdirSync(dirname(this.#recordPath), { recursive: true, mode: 0o700 });
      const draft = `${this.#recordPath}.${process.pid}`;
      writeFileSync(draft, encodeLearned(this.#learned), { mode: 0o600 });
      renameSync(draft, this.#recordPath);
    } catch {
      // The next run learns it again.
    }
  }

  async #findOrMake(start: StartMessage, asks: MoldOrder['asks']): Promise<Mold> {
    const wanted = this.#wanted();
    return (await findMold(this.#directory(wanted))) ?? (await this.#make(start, asks));
  }

  /** Has a mold with more imports made while tests run with this one. */
  #improve(mold: Mold, start: StartMessage): void {
    if (this.#better !== undefined || this.#fresh < ENOUGH_FILES) return;
    if (!QUIET.includes(start.context.environment.name)) return;
    const has = new Set(mold.imports);
    if (this.#wanted().every((id) => has.has(id))) return;
    const quiet = { opened: () => undefined, received: () => undefined };
    this.#better = this.#findOrMake(start, quiet).then(
      (better) => {
        this.#mold = Promise.resolve(better);
        this.#better = undefined;
      },
      // The one that there is goes on serving.
      () => undefined,
    );
  }

  async #make(start: StartMessage, asks: MoldOrder['asks']): Promise<Mold> {
    for (let round = 1; ; round++) {
      // At last without any: the environment alone is worth a mold.
      const imports = round < ROUNDS_MAX ? this.#wanted() : [];
      const made = await this.#makeOf(imports, start, asks);
      if (made === undefined) continue;
      if (!isUnfit(made)) {
        void tidy(this.#parts.root);
        return made;
      }
      this.#learned = withUnfit(this.#learned, made);
      this.#isNews = true;
    }
  }

  /** Returns undefined when it cannot be rehearsed, and the next one shall not be. */
  async #makeOf(
    imports: readonly ImportId[],
    start: StartMessage,
    asks: MoldOrder['asks'],
  ): Promise<Mold | readonly Unfit[] | undefined> {
    const { maker, hub, rules, over } = this.#parts;
    const rehearses = this.#rehearses;
    try {
      return await makeMold(maker, hub, {
        directory: this.#directory(imports),
        distPath: this.#options.distPath,
        execArgv: this.#options.execArgv,
        env: textsOf(this.#options.env),
        start,
        imports,
        forced: rules.include,
        hasGlobals: start.context.config.globals === true,
        rehearses,
        files: this.#files,
        over,
        asks,
      });
    } catch (error) {
      if (!(error instanceof RehearsalError) || !rehearses) throw error;
      this.#rehearses = false;
      return undefined;
    }
  }

  #wanted(): ImportId[] {
    return choose(this.#learned, this.#parts.rules.isWanted);
  }

  #directory(imports: readonly ImportId[]): string {
    const { key, root, rules } = this.#parts;
    return join(root, `${key}-${digestOf([rules.include, imports])}`);
  }
}

function isUnfit(made: Mold | readonly Unfit[]): made is readonly Unfit[] {
  return Array.isArray(made);
}

/** What stays a project's own from machine to machine and call to call. */
function projectOf({ distPath, project }: WorkerOptions, { context }: StartMessage): unknown[] {
  const { config, environment } = context;
  return [distPath, project.name, environment, config.root, config.globals];
}

/** Everything besides imports that makes a mold what it is. */
function groundOf({ distPath, execArgv, env, project }: WorkerOptions, { context }: StartMessage): unknown[] {
  const { config, environment } = context;
  const lasting = Object.entries(env).filter(([name]) => !PASSING.test(name));
  lasting.sort(([a], [b]) => (a < b ? -1 : 1));
  return [
    [process.version, process.execPath, process.cwd(), distPath, project.vitest.version, execArgv, lasting],
    [project.name, environment, config.root, config.globals, config.env, config.environmentOptions],
    [
      config.chaiConfig,
      config.experimental,
      config.disableColors,
      config.defines,
      config.disableConsoleIntercept,
    ],
  ];
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** Returns the variables that have a value. */
export function textsOf(env: Partial<NodeJS.ProcessEnv>): Record<string, string> {
  return Object.fromEntries(
    Object.entries(env).filter((pair): pair is [string, string] => pair[1] !== undefined),
  );
}

/** What package managers write whenever they change node_modules, in all directories above Vitest. */
function locksOf(distPath: string): string[] {
  const found: string[] = [];
  for (let at = dirname(distPath); ; at = dirname(at)) {
    for (const name of ['.package-lock.json', '.modules.yaml', '.yarn-state.yml'])
      if (existsSync(join(at, name))) found.push(join(at, name));
    if (at === dirname(at)) return found;
  }
}

function readLearned(path: string): Learned {
  try {
    return decodeLearned(readFileSync(path, 'utf8'));
  } catch {
    return NOTHING;
  }
}

/** Marks a mold as used just now. */
export async function touch(mold: Mold): Promise<void> {
  const now = new Date();
  await utimes(dirname(mold.image), now, now).catch(() => undefined);
}

/** Removes the molds that were not used for the longest time. */
async function tidy(root: string): Promise<void> {
  const names = (await readdir(root).catch(() => [])).filter((name) =>
    /^[0-9a-f]{16}-[0-9a-f]{16}$/.test(name),
  );
  const facts = await Promise.all(
    names.map(async (name) => ({
      path: join(root, name),
      mtimeMs: await stat(join(root, name)).then(
        (one) => one.mtimeMs,
        () => 0,
      ),
    })),
  );
  facts.sort((a, b) => b.mtimeMs - a.mtimeMs);
  for (const { path } of facts.slice(MOLDS_MAX)) await rm(path, { recursive: true, force: true });
}
