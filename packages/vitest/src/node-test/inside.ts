// The program of a mold for node:test: it has loaded what the files share, and becomes one of them. Bundled to CommonJS.
import { readFileSync, writeFileSync } from 'node:fs';
import * as nodeModule from 'node:module';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { constants, runInThisContext } from 'node:vm';
import { readGiven } from '@forkpoint/supervisor/warm/given';
import { Loads, preload } from '../inside/imports.ts';
import type { ImportId } from '../messages.ts';
import { stampsOf } from '../stamps.ts';
import { FORMAT, UNFIT_CODE } from './order.ts';
import type { MoldOrder, MoldRecord } from './order.ts';
import { wantedOf } from './scan.ts';

/** What is used of the library inside the program, which is another bundle. */
interface Library {
  readonly Core: {
    checkpointRestore(image: string, options: { readonly sync: boolean }): Promise<unknown>;
  };
}

/** Node's own way to start a file, which is exported for programs like this one (lib/internal/modules/run_main.js). */
interface Starter {
  runMain(main: string): void;
  _cache: Record<string, unknown>;
}

/** The file from which a package is imported. */
const PARENT = 'forkpoint-imports-this';
/** What nearly every test file loads; most of the time of a small one. */
const ALWAYS = ['node:test', 'node:assert/strict'];

/** The loads of imports that are asked for by name. */
class NamedLoads extends Loads {
  override foreign(id: ImportId): ImportId[] {
    const wanted = wantedOf(id);
    if (wanted === undefined) return super.foreign(id);
    const url = pathToFileURL(parentOf(wanted.directory, id)).href;
    return super.foreign(url).flatMap((target) => super.foreign(target));
  }
}

/** A name of its own for each, so that it can be seen what it loads. */
function parentOf(directory: string, id: ImportId): string {
  return join(directory, `${PARENT}-${Buffer.from(id).toString('hex').slice(-80)}.js`);
}

async function importOne(id: ImportId): Promise<unknown> {
  const wanted = wantedOf(id);
  if (wanted === undefined) return await import(id);
  const filename = parentOf(wanted.directory, id);
  if (wanted.kind === 'require') return nodeModule.createRequire(filename)(wanted.specifier) as unknown;
  // Resolved as from a file that lies there, which need not exist (vm, "importModuleDynamically").
  return (await runInThisContext(`import(${JSON.stringify(wanted.specifier)})`, {
    filename,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })) as unknown;
}

async function main(): Promise<void> {
  const [path = ''] = process.argv.splice(2);
  // Whoever wrote the file is the same version of this package.
  const order = JSON.parse(readFileSync(path, 'utf8')) as MoldOrder;
  // Beside this bundle in `dist`.
  const library = require(join(__dirname, 'index.cjs')) as Library;
  const loads = new NamedLoads();
  for (const id of ALWAYS) await import(id);
  const made = await preload(loads, { imports: order.imports, forced: [], hasGlobals: false, importOne });
  const record: MoldRecord = {
    v: FORMAT,
    isLasting: made.hasAllFiles,
    imports: made.imports,
    unfit: made.unfit,
    stamps: await stampsOf([...new Set([...made.files, ...order.files])]),
  };
  writeFileSync(order.record, JSON.stringify(record), { mode: 0o600 });
  if (made.unfit.length > 0) process.exit(UNFIT_CODE);
  process.chdir('/');
  await library.Core.checkpointRestore(order.image, { sync: false });
  begin(order);
}

/** In a fork: becomes `node FILE`. */
function begin({ later, flags }: MoldOrder): void {
  const { env } = process;
  const given = readGiven(`${env['FORKPOINT_DIR'] ?? ''}/warm`);
  for (const name of Object.keys(env)) if (!(name in given.env)) delete env[name];
  Object.assign(env, given.env);
  process.umask(given.umask);
  process.chdir(given.cwd);
  const [file = '', ...args] = given.args;
  const path = resolve(file);
  process.argv = [process.execPath, path, ...args];
  process.execArgv = [...flags];
  const starter = nodeModule.Module as unknown as Starter;
  for (const key of Object.keys(starter._cache)) if (key.startsWith(__dirname)) delete starter._cache[key];
  // Not within a promise: what a file throws is then Node's to report.
  setImmediate(() => {
    if (later.length === 0) starter.runMain(path);
    else void loadOwn(later, given.cwd).then(() => setImmediate(() => starter.runMain(path)));
  });
}

async function loadOwn(later: MoldOrder['later'], cwd: string): Promise<void> {
  const load = nodeModule.createRequire(join(cwd, PARENT));
  for (const { specifier } of later.filter(({ kind }) => kind === 'require')) load(specifier);
  for (const { specifier } of later.filter(({ kind }) => kind === 'import'))
    await import(/^[./]/.test(specifier) ? pathToFileURL(resolve(cwd, specifier)).href : specifier);
}

main().catch((error: unknown) => {
  process.stderr.write(`${error instanceof Error ? (error.stack ?? error.message) : String(error)}\n`);
  process.exit(1);
});
