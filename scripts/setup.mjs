// All set-up of a checkout: packages, bundles, launcher, engine. Usage: node scripts/setup.mjs; used by npm start and npm test.
// Starts on a machine with nothing but Node, npm and apt: no import from node_modules may stand here.
import { accessSync, constants, existsSync } from 'node:fs';
import { homedir } from 'node:os';
import { delimiter, join, resolve } from 'node:path';
import { fileURLToPath } from 'node:url';
import { missingPackage } from './lib/packages.mjs';
import { describePackages, hasPackages, nodeUnderTest } from './lib/runtimes.mjs';
import { alone, run, say, SetupError } from './lib/step.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const MINIMUM_NODE = [20, 19];
const INSTALL_TIMEOUT_MS = 20 * 60_000;
const BUILD_TIMEOUT_MS = 5 * 60_000;
const ENGINE_TIMEOUT_MS = 30 * 60_000;
const RUNTIMES = [20, 22, 24, 26];

/**
 * Makes a checkout ready; a second call does nothing, needs no network and takes a fraction of a second. Says on stderr
 * what it does. On failure it says why and what to do, and ends this process with exit code 1.
 * With `runtimes`, it also installs the other Nodes under test, the libraries and servers of the adapters' tests, a browser unless there is one, and makes sure that each Node can be started; with `languages`
 * Python, Ruby, a JDK and JRuby.
 * @param {{ runtimes?: boolean, languages?: boolean }} options
 */
export async function setup({ runtimes = false, languages = false } = {}) {
  try {
    checkMachine();
    await alone(join(root, '.forkpoint/setup.lock'), ENGINE_TIMEOUT_MS, async () => {
      await installPackages();
      await buildBundles();
      await prepareEngine();
      if (runtimes) await Promise.all([prepareRuntimes(), prepareServers().then(prepareBrowser)]);
      if (languages) await prepareLanguages();
    });
  } catch (error) {
    if (!(error instanceof SetupError)) throw error;
    say(`Error: ${error.message}`);
    if (error.hint) say(`Hint: ${error.hint}`);
    process.exit(error.exitCode ?? 1);
  }
}

/** Returns the data directory that forkpoint uses, an absolute path. */
export function dataDirectory() {
  const { FORKPOINT_HOME, XDG_DATA_HOME, HOME } = process.env;
  if (FORKPOINT_HOME) return resolve(FORKPOINT_HOME);
  if (XDG_DATA_HOME?.startsWith('/')) return join(XDG_DATA_HOME, 'forkpoint');
  return join(HOME?.startsWith('/') ? HOME : homedir(), '.local/share/forkpoint');
}

function checkMachine() {
  if (process.platform !== 'linux' || process.arch !== 'x64') {
    throw new SetupError(
      `forkpoint runs on Linux with an x86-64 processor, and this is ${process.platform} on ${process.arch}`,
    );
  }
  const [major, minor] = process.versions.node.split('.').map(Number);
  if (major < MINIMUM_NODE[0] || (major === MINIMUM_NODE[0] && minor < MINIMUM_NODE[1])) {
    throw new SetupError(
      `Node.js ${MINIMUM_NODE.join('.')} or newer is needed, and this is ${process.versions.node}`,
      'install a newer one and start again',
    );
  }
}

/** Says what is being done, and afterwards how long it took. */
async function step(what, work) {
  const began = Date.now();
  say(`${what} ...`);
  await work();
  say(`${what}: done in ${((Date.now() - began) / 1000).toFixed(1)} s`);
}

async function installPackages() {
  const reason = missingPackage(root);
  if (reason === null) return;
  await step(`installing npm packages (${reason})`, async () => {
    // Without `--no-save` npm adds the native packages of all other platforms to the lock file.
    const isLocked = !reason.includes('package-lock.json');
    await npmInstall(root, isLocked ? ['--no-save'] : []);
    const still = missingPackage(root);
    if (still === null) return;
    throw new SetupError(`npm install went through, but ${still}`, 'remove node_modules and start again');
  });
}

async function npmInstall(directory, options = []) {
  // `npm ci` would insist on packages for other platforms, which some registries lack.
  const flags = ['--no-audit', '--no-fund', '--loglevel=error', '--include=dev', '--include=optional'];
  const { code, output } = await run([...npm(), 'install', ...flags, ...options], {
    cwd: directory,
    env: npmEnvironment(),
    timeoutMs: INSTALL_TIMEOUT_MS,
  });
  if (code === 0) return;
  if (code === 127)
    throw new SetupError('npm is not on this machine', 'install the package npm, or Node.js with it');
  const lines = output.split('\n').filter((line) => /\S/.test(line.replace(/^npm (?:error|ERR!)/, '')));
  throw new SetupError(
    `npm install failed: ${lines.slice(0, 4).join('\n  ') || `it ended with exit code ${code}`}`,
    'the first call needs the network: check it (`npm ping`), then start again',
  );
}

/** The npm that runs us, else the one on PATH. */
function npm() {
  const own = process.env.npm_execpath;
  return own !== undefined && /npm-cli\.c?js$/.test(own) && existsSync(own)
    ? [process.execPath, own]
    : ['npm'];
}

function npmEnvironment() {
  const env = { ...process.env, npm_config_update_notifier: 'false' };
  try {
    accessSync(homedir(), constants.W_OK);
  } catch {
    // npm keeps its cache in the home directory; where there is none it gets a place here.
    env.npm_config_cache ??= join(root, '.forkpoint/npm-cache');
  }
  return env;
}

async function buildBundles() {
  const began = Date.now();
  const { code, output } = await run([process.execPath, join(root, 'scripts/build.mjs')], {
    cwd: root,
    env: process.env,
    timeoutMs: BUILD_TIMEOUT_MS,
  });
  if (code !== 0) throw new SetupError(`the build failed (scripts/build.mjs): ${output.trim()}`);
  const tookMs = Date.now() - began;
  if (tookMs > 700) say(`building: done in ${(tookMs / 1000).toFixed(1)} s`);
}

/** Lets the command line do it, as a user would: it finds or fetches CRIU and builds the launcher. */
async function prepareEngine() {
  const began = Date.now();
  let lines = 0;
  const { code, output } = await run([join(root, 'bin/forkpoint'), 'setup'], {
    cwd: root,
    env: { ...process.env, FORKPOINT_NODE: process.execPath, PATH: systemPath() },
    timeoutMs: ENGINE_TIMEOUT_MS,
    onLine: (line) => {
      // What a set-up that had nothing to do says as well.
      if (line.startsWith('forkpoint is ready')) return;
      lines++;
      say(`  ${line}`);
    },
  });
  if (code !== 0) {
    // Its own lines, with the hint, stand above already.
    throw new SetupError(
      lines > 0 ? '`forkpoint setup` failed' : `\`forkpoint setup\` failed: ${output.trim()}`,
    );
  }
  if (lines > 0)
    say(`setting up CRIU and the launcher: done in ${((Date.now() - began) / 1000).toFixed(1)} s`);
}

/** Minimal machines leave out the directories in which apt's helpers and dpkg lie. */
function systemPath() {
  const given = (process.env.PATH ?? '').split(delimiter).filter((path) => path !== '');
  const usual = ['/usr/local/sbin', '/usr/local/bin', '/usr/sbin', '/usr/bin', '/sbin', '/bin'];
  return [...new Set([...given, ...usual])].join(delimiter);
}

/** Installs a set of packages that only tests use, unless it is there. Throws a SetupError when that fails. */
export async function installSet(set, what) {
  if (hasPackages(root, set)) return;
  await step(`installing ${what}`, async () => {
    await npmInstall(describePackages(root, set));
    if (!hasPackages(root, set))
      throw new SetupError(`${what}: not all of it is there`, `remove .forkpoint/${set} and start again`);
  });
}

async function prepareRuntimes() {
  for (const [set, what] of Object.entries({ runtimes: 'the runtimes under test', vitest: 'Vitest' }))
    await installSet(set, what);
  for (const major of RUNTIMES) {
    const node = nodeUnderTest(root, major);
    const { code, output } = await run([node, '--version'], {
      cwd: root,
      env: process.env,
      timeoutMs: 30_000,
    });
    if (code !== 0)
      throw new SetupError(
        `${node} cannot be started: ${output.trim()}`,
        'remove node_modules and .forkpoint/runtimes and start again',
      );
  }
}

async function prepareLanguages() {
  await byScript('languages');
}

async function prepareServers() {
  await byScript('servers');
}

async function prepareBrowser() {
  await byScript('browser');
}

/** By a script of its own, which needs the engine's way to fetch Debian packages, in TypeScript. */
async function byScript(name) {
  const { code, output } = await run([nodeUnderTest(root, 24), join(root, `scripts/${name}.ts`)], {
    cwd: root,
    env: { ...process.env, NODE_OPTIONS: '', PATH: systemPath() },
    timeoutMs: ENGINE_TIMEOUT_MS,
    onLine: (line) => say(line),
  });
  if (code === 0) return;
  throw new SetupError(
    `the ${name} under test cannot be prepared: ${output.trim().split('\n').slice(-12).join('\n  ')}`,
    `the first call needs the network; remove .forkpoint/${name} and start again`,
  );
}

if (process.argv[1] !== undefined && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  await setup({ runtimes: true });
}
