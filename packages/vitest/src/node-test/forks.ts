import { spawnSync } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { placesAt } from '@forkpoint/store';
import type { Places } from '@forkpoint/store';
import { removeRunCalled } from '../run-left.ts';
import { choose, decodeLearned, encodeLearned, NOTHING, withFile, withUnfit } from '../learned.ts';
import type { Learned } from '../learned.ts';
import type { ImportId } from '../messages.ts';
import { isChangedSync } from '../stamps.ts';
import { splitPreloads } from './call.ts';
import type { TestCall } from './call.ts';
import { decodeRecord, UNFIT_CODE } from './order.ts';
import type { MoldOrder, MoldRecord } from './order.ts';
import { Scanner, wantedOf } from './scan.ts';

/** Where forkpoint is. */
export interface Settings {
  /** The data directory. */
  readonly home: string;
  /** The package's directory, in which `dist` is. */
  readonly library: string;
}

/** Molds that are made one after the other until one has no unfit import. */
const ROUNDS_MAX = 4;
/** Molds that stay on the disk. */
const MOLDS_MAX = 12;
const MAKE_MS = 40_000;
const SAID_MAX = 600;
/** Variables that differ from call to call and that no package makes anything of when it is loaded. */
const PASSING =
  /^(_|SHLVL|PWD|OLDPWD|COLUMNS|LINES|WINDOWID|TERM_SESSION_ID|SSH_\w+|GPG_TTY|XDG_SESSION_ID|NODE_TEST_\w+|npm_lifecycle_\w+|npm_config_\w+|npm_package_\w+|npm_command|npm_execpath|npm_node_execpath|FORKPOINT_\w+)$/;

/** The mold of one call of `node --test`, from which its files are forked. */
export class Forks {
  readonly #settings: Settings;
  readonly #places: Places;
  readonly #call: TestCall;
  readonly #flags: readonly string[];
  readonly #later: MoldOrder['later'];
  readonly #cwd = process.cwd();
  readonly #recordPath: string;
  readonly #scanner = new Scanner();
  readonly #started = new Set<string>();
  #learned: Learned;

  /** `call` is the first file that is started, `files` are others that will be, as far as that is known. */
  constructor(settings: Settings, call: TestCall, files: readonly string[]) {
    this.#settings = settings;
    this.#places = placesAt(settings.home);
    this.#call = call;
    const { flags, later } = splitPreloads(call.flags);
    this.#flags = flags;
    this.#later = later;
    this.#recordPath = join(this.#root, `${digestOf(['test', this.#cwd, flags])}.learned.json`);
    const kept = readLearned(this.#recordPath);
    const all = new Set([...kept.files.keys(), ...files, call.file].map((file) => resolve(file)));
    let learned: Learned = { ...kept, files: new Map() };
    // What was imported last time may have been taken out since.
    for (const file of all)
      if (existsSync(file)) learned = withFile(learned, file, this.#scanner.importsOf(file));
    this.#learned = learned;
  }

  get #root(): string {
    return join(this.#places.cache, 'test');
  }

  /** Finds a mold or makes one, which takes a second or two. Returns its directory; throws an Error that says why there is none. */
  ready(): string {
    for (let round = 1; ; round++) {
      // At last without any: node:test alone is worth something.
      const imports = round < ROUNDS_MAX ? choose(this.#learned) : [];
      const directory = join(this.#root, `${this.#key()}-${digestOf(imports)}`);
      if (isUsable(directory)) return directory;
      const { unfit } = this.#make(directory, imports);
      if (unfit.length === 0) {
        this.save();
        return directory;
      }
      this.#learned = withUnfit(this.#learned, unfit);
    }
  }

  /** Notes that a file was started. */
  note(file: string): void {
    this.#started.add(resolve(file));
  }

  /** Keeps the names of the files for the next time. Synchronous: the process ends. */
  save(): void {
    let learned = this.#learned;
    for (const file of this.#started) if (!learned.files.has(file)) learned = withFile(learned, file, []);
    try {
      mkdirSync(this.#root, { recursive: true, mode: 0o700 });
      const draft = `${this.#recordPath}.${process.pid}`;
      writeFileSync(draft, encodeLearned(learned), { mode: 0o600 });
      renameSync(draft, this.#recordPath);
    } catch {
      // The next run finds them again.
    }
  }

  /** What makes a mold what it is, besides its imports. */
  #key(): string {
    const lasting = Object.entries(this.#call.env).filter(([name]) => !PASSING.test(name));
    lasting.sort(([a], [b]) => (a < b ? -1 : 1));
    const own = readFileSync(join(this.#settings.library, 'dist', 'test-mold.cjs'), 'utf8');
    return digestOf([own, process.version, process.execPath, this.#cwd, this.#flags, this.#later, lasting]);
  }

  #make(directory: string, imports: readonly ImportId[]): MoldRecord {
    const { home, library } = this.#settings;
    const draft = `${directory}.${process.pid}`;
    const name = `test-${randomBytes(6).toString('hex')}`;
    mkdirSync(draft, { recursive: true, mode: 0o700 });
    try {
      const record = join(draft, 'mold.json');
      const order: MoldOrder = {
        imports,
        later: this.#later,
        flags: this.#call.flags,
        image: join(draft, 'image'),
        record,
        files: [process.execPath, ...locksOf(imports)],
      };
      writeFileSync(join(draft, 'order.json'), JSON.stringify(order), { mode: 0o600 });
      const program = [process.execPath, ...this.#flags, join(library, 'dist', 'test-mold.cjs')];
      const words = ['run', '--name', name, '--', ...program, join(draft, 'order.json')];
      const made = spawnSync(join(library, 'bin', 'forkpoint'), words, {
        env: { ...this.#call.env, FORKPOINT_HOME: home, FORKPOINT_NODE: process.execPath },
        input: '',
        encoding: 'utf8',
        timeout: MAKE_MS,
        killSignal: 'SIGKILL',
      });
      const result = decodeRecord(readText(record));
      if (made.status === UNFIT_CODE && result !== undefined && result.unfit.length > 0) return result;
      if (made.status !== 0 || result === undefined) throw new Error(reasonOf(made));
      rmSync(join(draft, 'order.json'), { force: true });
      rmSync(directory, { recursive: true, force: true });
      renameSync(draft, directory);
      tidy(this.#root);
      return result;
    } finally {
      rmSync(draft, { recursive: true, force: true });
      removeRunCalled(this.#places.runs, name);
    }
  }
}

function reasonOf({ status, signal, error, stderr }: ReturnType<typeof spawnSync>): string {
  if (error !== undefined) return error.message;
  const said = String(stderr)
    .trim()
    .replace(/^Error: /, '')
    .slice(0, SAID_MAX);
  if (said !== '') return said;
  return signal === null ? `its mold ended with code ${status}` : `its mold ended by ${signal}`;
}

/** Whether a mold is there, and nothing that it loaded says something else by now. */
function isUsable(directory: string): boolean {
  const record = decodeRecord(readText(join(directory, 'mold.json')));
  if (record === undefined || record.unfit.length > 0 || !record.isLasting) return false;
  if (record.stamps.some(isChangedSync)) return false;
  const now = new Date();
  try {
    utimesSync(directory, now, now);
  } catch {
    // Somebody has removed it just now; the files then start as usual.
  }
  return true;
}

/** Removes the molds that were not used for the longest time, of all projects together. */
function tidy(root: string): void {
  const molds = readdirSync(root)
    .filter((name) => /^[0-9a-f]{16}-[0-9a-f]{16}$/.test(name))
    .map((name) => join(root, name))
    .map((path) => ({ path, usedMs: statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0 }));
  molds.sort((a, b) => b.usedMs - a.usedMs);
  for (const { path } of molds.slice(MOLDS_MAX)) rmSync(path, { recursive: true, force: true });
}

/** What package managers write whenever they change one of the directories that are imported from. */
function locksOf(imports: readonly ImportId[]): string[] {
  const directories = new Set(
    imports.map((id) => wantedOf(id)?.directory).filter((one) => one !== undefined),
  );
  return [...directories].flatMap((directory) =>
    ['.package-lock.json', '.modules.yaml', '.yarn-state.yml']
      .map((name) => join(directory, 'node_modules', name))
      .filter((path) => existsSync(path)),
  );
}

function readLearned(path: string): Learned {
  const text = readText(path);
  return text === '' ? NOTHING : decodeLearned(text);
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    // There is none.
    return '';
  }
}

function digestOf(value: unknown): string {
  return createHash('sha256').update(JSON.stringify(value)).digest('hex').slice(0, 16);
}
