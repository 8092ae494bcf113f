import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { mkdir, readdir, readFile, realpath, rename, rm, stat, writeFile } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import type { Manifest } from '@forkpoint/manifest';
import { placesAt, preflight, readManifest } from '@forkpoint/store';
import type { PreflightOptions } from '@forkpoint/store';
import type { Listening, MadeMold } from './molds.ts';

/** What tells one program from another, and one state of its code from another. */
export interface AppKey {
  /** Command and directory, hashed. */
  readonly app: string;
  /** The same with code, lockfile, environment and runtime. */
  readonly key: string;
}

/** What a key is made of. */
export interface AppFacts {
  readonly command: readonly string[];
  readonly cwd: string;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Files that have to be the same: the runtime, and what forkpoint preloads. */
  readonly files: readonly string[];
}

/** What is noted beside an image that is kept. */
interface Note {
  readonly listening: readonly Listening[];
  /** What the program had read when it started: path, and what was there. Code is part of the key. */
  readonly reads: readonly (readonly [path: string, facts: readonly (string | number)[]])[];
}

/** Code, and what is read as code is: templates, schemes, settings. */
const CODE =
  /\.(?:[mc]?[jt]sx?|json5?|wasm|node|ejs|pug|hbs|handlebars|mustache|liquid|njk|vue|svelte|astro|html?|css|svg|gql|graphql|sql|proto|prisma|ya?ml|toml|ini|env|properties)$|^\.env/i;
const LOCKFILES = [
  'package-lock.json',
  'npm-shrinkwrap.json',
  'yarn.lock',
  'pnpm-lock.yaml',
  'bun.lock',
  'node_modules/.package-lock.json',
];
/** A directory that holds one of these holds the whole code. */
const ENDS = ['.git', 'pnpm-workspace.yaml', ...LOCKFILES];
const SKIPPED = new Set(['node_modules', '.git', '.hg', 'coverage', '.cache', 'tmp', 'logs']);
const FILES_MAX = 20_000;
const DIRECTORIES_MAX = 10_000;
const BYTES_MAX = 256 << 20;
/** Variables that differ from one start to the next and say nothing. */
const VOLATILE =
  /^(_|PWD|OLDPWD|SHLVL|TERM.*|COLUMNS|LINES|COLORTERM|SSH_.*|DISPLAY|WINDOWID|XDG_.*|INVOCATION_ID|JOURNAL_STREAM|SYSTEMD_.*|LISTEN_.*|NOTIFY_SOCKET|WATCHDOG_.*|MAINPID|CREDENTIALS_DIRECTORY|npm_.*|FORKPOINT_.*)$/;

/**
 * Returns the keys of a program: digests of its command, directory, environment, runtime, lockfile and code. Null when
 * there is more code than can be looked at (20,000 files, 10,000 directories or 256 MB).
 */
export async function appKey(facts: AppFacts): Promise<AppKey | null> {
  const app = createHash('sha256').update(JSON.stringify([facts.command, facts.cwd]));
  const name = app.copy().digest('hex').slice(0, 8);
  const env = Object.entries(facts.env).filter(([key]) => !VOLATILE.test(key));
  app.update(JSON.stringify(env.sort(([a], [b]) => (a < b ? -1 : 1))));
  for (const file of facts.files) app.update(JSON.stringify(await factsOf(file)));
  const root = await projectRoot(facts.command, facts.cwd);
  for (let at = root; ; at = dirname(at)) {
    for (const lockfile of LOCKFILES) await addFile(app, join(at, lockfile));
    if (at === dirname(at)) break;
  }
  if (!(await addCode(app, root))) return null;
  return { app: name, key: app.digest('hex').slice(0, 12) };
}

/** Notes what an image was made from, so that the next start can tell whether it is of use. */
export async function noteKept(
  home: string,
  image: string,
  facts: { listening: readonly Listening[]; reads: readonly string[]; root: string },
): Promise<void> {
  const others = facts.reads.filter(
    (path) => !path.startsWith(`${facts.root}/`) || !CODE.test(basename(path)),
  );
  const reads = await Promise.all(others.map(async (path) => [path, await factsOf(path)] as const));
  const note: Note = { listening: facts.listening, reads };
  const { id } = await readManifest(image);
  const path = notePath(home, id);
  await mkdir(dirname(path), { recursive: true, mode: 0o700 });
  await writeFile(`${path}.new`, JSON.stringify(note), { mode: 0o600 });
  await rename(`${path}.new`, path);
}

/** Returns what was noted; undefined when nothing was, or the cache was cleared. */
async function readNote(home: string, id: string): Promise<Note | undefined> {
  try {
    // Nobody but this user can write there.
    return JSON.parse(await readFile(notePath(home, id), 'utf8')) as Note;
  } catch {
    return undefined;
  }
}

function notePath(home: string, id: string): string {
  return join(placesAt(home).cache, 'serve', `${id}.json`);
}

/** Returns the path of the image that is kept for a program. */
export function keptPath(home: string, { app, key }: AppKey): string {
  return join(placesAt(home).images, `serve-${app}-${key}`);
}

/** Returns an image that was kept, or why it cannot be used. */
export async function readKept(
  home: string,
  path: string,
  options: PreflightOptions,
): Promise<MadeMold | string> {
  const manifest = await readManifest(path).catch(() => undefined);
  if (manifest === undefined) return 'there is none';
  const note = await readNote(home, manifest.id);
  if (note === undefined) return 'nothing says what it was made from';
  for (const [file, before] of note.reads)
    if (JSON.stringify(await factsOf(file)) !== JSON.stringify(before)) return `${file} has changed`;
  return await readMold(home, path, options);
}

/** Returns an image for workers to start from, or why it cannot be used. */
export async function readMold(
  home: string,
  path: string,
  options: PreflightOptions,
): Promise<MadeMold | string> {
  // Addresses are the server's business: it may hold them already.
  const [finding] = (await preflight(path, options)).filter(({ kind }) => kind !== 'address');
  if (finding !== undefined) return finding.message;
  const manifest = await readManifest(path);
  const note = await readNote(home, manifest.id);
  const listening = note?.listening ?? manifest.slots.flatMap(listeningOf);
  return { image: path, listening, bytes: await bytesOf(path), isKept: true };
}

function listeningOf(slot: Manifest['slots'][number]): Listening[] {
  if (slot.kind === 'unix') return [{ wanted: { path: slot.path, mode: slot.mode }, actual: slot.path }];
  if (slot.kind !== 'tcp') return [];
  const wanted = { port: slot.port, host: slot.address };
  return [{ wanted, actual: `${slot.address}:${slot.port}` }];
}

/** Removes what is kept for earlier states of a program's code. */
export async function forgetOthers(
  home: string,
  { app, key }: AppKey,
  keep: ReadonlySet<string>,
): Promise<void> {
  const { images } = placesAt(home);
  for (const name of await readdir(images).catch(() => [])) {
    const path = join(images, name);
    if (!name.startsWith(`serve-${app}-`) || name.endsWith(key) || keep.has(path)) continue;
    const id = (await readManifest(path).catch(() => undefined))?.id;
    await rm(path, { recursive: true, force: true });
    if (id !== undefined) await rm(notePath(home, id), { force: true });
  }
}

async function bytesOf(path: string): Promise<number> {
  let bytes = 0;
  for (const entry of await readdir(path, { withFileTypes: true, recursive: true }))
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).blocks * 512;
  return bytes;
}

/**
 * Returns where the code of a program lies: from its script, else its directory, up to the nearest lockfile or repository,
 * else the nearest package.json, else that directory itself.
 */
export async function projectRoot(command: readonly string[], cwd: string): Promise<string> {
  const scripts = command.slice(1).map((word) => resolve(cwd, word));
  let from = cwd;
  for (const script of scripts) {
    const real = await realpath(script).catch(() => undefined);
    if (real === undefined || !(await stat(real)).isFile()) continue;
    from = dirname(real);
    break;
  }
  let nearest: string | undefined;
  for (let at = from; at !== dirname(at); at = dirname(at)) {
    const names = new Set(await readdir(at).catch(() => []));
    if (ENDS.some((name) => names.has(name))) return at;
    if (names.has('package.json')) nearest ??= at;
  }
  return nearest ?? from;
}

async function factsOf(path: string): Promise<(string | number)[]> {
  try {
    const real = await realpath(path);
    const { size, mtimeMs } = await stat(real);
    return [real, size, mtimeMs];
  } catch {
    // It is as good a fact that there is none.
    return [];
  }
}

async function addFile(hash: Hash, path: string): Promise<number> {
  const bytes = await readFile(path).catch(() => undefined);
  if (bytes === undefined) return 0;
  hash.update(`${path}\0${bytes.length}\0`).update(bytes);
  return bytes.length;
}

async function addCode(hash: Hash, root: string): Promise<boolean> {
  let [files, bytes, directories] = [0, 0, 0];
  const queue = [root];
  for (let at = queue.shift(); at !== undefined; at = queue.shift()) {
    const entries = await readdir(at, { withFileTypes: true }).catch(() => []);
    for (const entry of entries.sort((a, b) => (a.name < b.name ? -1 : 1))) {
      const path = join(at, entry.name);
      if (entry.isDirectory() && !SKIPPED.has(entry.name)) queue.push(path);
      if (!entry.isFile() || !CODE.test(entry.name)) continue;
      bytes += await addFile(hash, path);
      if (++files > FILES_MAX || bytes > BYTES_MAX) return false;
    }
    if (++directories > DIRECTORIES_MAX) return false;
  }
  return true;
}
