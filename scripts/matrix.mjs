// Real programs from npm through checkpoint and restore. Usage: npm run matrix -- node [--only NAME,...] [--node 24] [--jobs 1]
// `--node 20`, `22`, `26` (or several, joined by commas) tries a third of them on another version. Writes docs/matrix.md.
import { spawnSync } from 'node:child_process';
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataDirectory, setup } from './setup.mjs';

const root = fileURLToPath(new URL('..', import.meta.url)).replace(/\/$/, '');
const [subject, ...rest] = process.argv.slice(2);
const cache = join(root, '.forkpoint/matrix');
const node = join(root, 'node_modules/node24/bin/node');
const INSTALL_TIMEOUT_MS = 20 * 60_000;
const BUILD_TIMEOUT_MS = 10 * 60_000;

/** Runs one step of the preparation; ends this process when it fails. */
function step(what, argv, options) {
  console.error(`${what} ...`);
  const env = {
    ...process.env,
    PATH: `${dirname(node)}:${process.env.PATH}`,
    NEXT_TELEMETRY_DISABLED: '1',
    ASTRO_TELEMETRY_DISABLED: '1',
  };
  const { status, stdout, stderr, error } = spawnSync(argv[0], argv.slice(1), {
    encoding: 'utf8',
    env,
    ...options,
  });
  if (status === 0) return;
  console.error(`Error: ${what} failed: ${error?.message ?? `${stdout}${stderr}`.trim()}`);
  process.exit(1);
}

/** Installs the pinned packages and builds the apps that are built, unless that is done already. */
function prepare() {
  const wanted = readFileSync(join(root, 'matrix/package.json'), 'utf8');
  const stamp = join(cache, 'prepared.json');
  const apps = join(cache, 'apps');
  mkdirSync(cache, { recursive: true });
  const isInstalled = existsSync(stamp) && readFileSync(stamp, 'utf8') === wanted;
  if (!isInstalled) {
    writeFileSync(join(cache, 'package.json'), wanted);
    // None of the packages needs its install script: native ones bring their binaries.
    const flags = ['--no-audit', '--no-fund', '--loglevel=error', '--ignore-scripts'];
    step('installing the programs', ['npm', 'install', ...flags], {
      cwd: cache,
      timeout: INSTALL_TIMEOUT_MS,
    });
  }
  const kept = isInstalled ? (path) => !/\/apps\/(next|astro)/.test(path) : () => true;
  if (!isInstalled) rmSync(apps, { recursive: true, force: true });
  cpSync(join(root, 'matrix/apps'), apps, { recursive: true, filter: kept });
  if (isInstalled) return;
  const modules = join(cache, 'node_modules');
  step('building the Next.js app', [node, join(modules, 'next/dist/bin/next'), 'build'], {
    cwd: join(apps, 'next'),
    timeout: BUILD_TIMEOUT_MS,
  });
  step('building the Astro app', [node, join(modules, '.bin/astro'), 'build'], {
    cwd: join(apps, 'astro'),
    timeout: BUILD_TIMEOUT_MS,
  });
  spawnSync('chmod', ['-R', 'a+rX', cache]);
  writeFileSync(stamp, wanted);
}

/** Lends the engine to ordinary users: root's own place is closed to them. */
function lendEngine() {
  const engine = join(dataDirectory(), 'engine');
  if (process.getuid() !== 0) return { engine, remove: () => undefined };
  const directory = mkdtempSync(join(tmpdir(), 'fp-engine-'));
  const lent = join(directory, 'engine');
  cpSync(engine, lent, { recursive: true, verbatimSymlinks: true });
  const plan = join(lent, 'engine.plan');
  writeFileSync(plan, readFileSync(plan, 'latin1').replaceAll(engine, lent), 'latin1');
  spawnSync('chmod', ['-R', 'a+rX', directory]);
  return { engine: lent, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** When root uses a checkout that others cannot reach, the programs see it through a bind mount that they can. */
function showToOthers() {
  if (process.getuid() !== 0 || process.env.FORKPOINT_TEST_SHOWN !== undefined) return;
  let reachable = true;
  for (let at = root; at !== '/'; at = dirname(at)) reachable &&= (statSync(at).mode & 0o005) === 0o005;
  if (reachable) return;
  const shown = mkdtempSync(join(tmpdir(), 'fp-checkout-'));
  spawnSync('chmod', ['755', shown]);
  const script = 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"';
  const again = [process.execPath, join(shown, 'scripts/matrix.mjs'), ...process.argv.slice(2)];
  const { status } = spawnSync('unshare', ['--mount', 'sh', '-c', script, 'sh', root, shown, ...again], {
    stdio: 'inherit',
    env: { ...process.env, FORKPOINT_TEST_SHOWN: '1' },
  });
  rmSync(shown, { recursive: true, force: true });
  process.exit(status ?? 1);
}

if (subject !== 'node') {
  console.error('Usage: npm run matrix -- node [--only NAME,...] [--node 20,22,24,26] [--jobs N]');
  process.exit(2);
}
await setup();
showToOthers();
prepare();
const { engine, remove } = lendEngine();
const { status } = spawnSync(node, [join(root, 'matrix/src/main.ts'), cache, ...rest], {
  stdio: ['ignore', 'inherit', 'inherit'],
  env: { ...process.env, NODE_OPTIONS: '', FORKPOINT_TEST_ENGINE: engine },
});
remove();
process.exitCode = status ?? 1;
