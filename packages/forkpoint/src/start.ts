// `dist/cli.cjs` and `dist/worker.cjs`: run the bundle beside them, with what V8 made of it when the engine was set up
// (packages/engine/src/code.ts). To compile a bundle costs as much as starting Node.js.
import { closeSync, fstatSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createRequire, Module } from 'node:module';
import { homedir } from 'node:os';
import { dirname, join } from 'node:path';
import { constants, Script } from 'node:vm';

declare const FORKPOINT_BUNDLE: 'cli' | 'worker';

const file = join(__dirname, `${FORKPOINT_BUNDLE}.main.cjs`);

/** The same rules as in bin/forkpoint. */
function homeOf({ FORKPOINT_HOME, XDG_DATA_HOME, HOME }: NodeJS.ProcessEnv): string {
  if (FORKPOINT_HOME !== undefined && FORKPOINT_HOME !== '') return FORKPOINT_HOME;
  if (XDG_DATA_HOME?.startsWith('/') === true) return join(XDG_DATA_HOME, 'forkpoint');
  return join(HOME?.startsWith('/') === true ? HOME : homedir(), '.local/share/forkpoint');
}

/** Returns what V8 made of the bundle; undefined when there is nothing, or when somebody else could have written it. */
function compiled(): Buffer | undefined {
  try {
    const stamp = readFileSync(join(__dirname, 'build.stamp'), 'latin1').slice(0, 16);
    const name = `${FORKPOINT_BUNDLE}-${stamp}-${process.version}-${process.arch}`;
    const fd = openSync(join(homeOf(process.env), 'engine/code', name), 'r');
    try {
      const { uid } = fstatSync(fd);
      return uid === 0 || uid === process.getuid?.() ? readFileSync(fd) : undefined;
    } finally {
      closeSync(fd);
    }
  } catch {
    // Node.js compiles it then.
    return undefined;
  }
}

/** Node.js warns its users of an experiment that is ours: the bundle imports what users have written, such as a configuration. */
function keepQuiet(): void {
  const tell = process.emitWarning.bind(process) as (...words: unknown[]) => void;
  const filtered = (...words: unknown[]): void => {
    if (!String(words[0]).startsWith('vm.USE_MAIN_CONTEXT_DEFAULT_LOADER')) tell(...words);
  };
  process.emitWarning = filtered;
}

function start(): void {
  keepQuiet();
  const { FORKPOINT_MAKE_CODE: wanted } = process.env;
  delete process.env['FORKPOINT_MAKE_CODE'];
  const script = new Script(Module.wrap(readFileSync(file, 'utf8')), {
    filename: file,
    cachedData: wanted === undefined ? compiled() : undefined,
    importModuleDynamically: constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  });
  // The functions that have run by then are in it as well.
  if (wanted !== undefined) process.once('exit', () => writeFileSync(wanted, script.createCachedData()));
  const module = new Module(file);
  const run = script.runInThisContext() as (...words: unknown[]) => void;
  run(module.exports, createRequire(file), module, file, dirname(file));
}

start();
