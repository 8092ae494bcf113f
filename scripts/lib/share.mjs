// Root runs tests as an ordinary user: what that user has to see of the checkout and of the engine.
import { spawnSync } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { dataDirectory } from '../setup.mjs';

const root = fileURLToPath(new URL('../..', import.meta.url)).replace(/\/$/, '');

/**
 * Lends the engine to test users: their data directories have a link to it. Root's own place is closed to others. The
 * bundles are compiled ahead for the Node.js with which the tests start them.
 */
export function lendEngine() {
  const engine = join(dataDirectory(), 'engine');
  spawnSync(join(root, 'bin/forkpoint'), ['setup'], {
    env: { ...process.env, FORKPOINT_NODE: join(root, 'node_modules/node24/bin/node') },
  });
  if (process.getuid() !== 0) return { engine, remove: () => undefined };
  const directory = mkdtempSync(join(tmpdir(), 'fp-engine-'));
  const lent = join(directory, 'engine');
  cpSync(engine, lent, { recursive: true, verbatimSymlinks: true });
  const plan = join(lent, 'engine.plan');
  writeFileSync(plan, readFileSync(plan, 'latin1').replaceAll(engine, lent), 'latin1');
  spawnSync('chmod', ['-R', 'a+rX', directory]);
  return { engine: lent, remove: () => rmSync(directory, { recursive: true, force: true }) };
}

/** Whether the users of the tests can reach this checkout. */
export function isSeen() {
  if (process.getuid() !== 0 || process.env.FORKPOINT_TEST_SHOWN !== undefined) return true;
  for (let at = root; at !== '/'; at = dirname(at)) if ((statSync(at).mode & 0o005) !== 0o005) return false;
  return true;
}

/**
 * When root tests a checkout that others cannot reach, the tests see it through a bind mount that they can: `script` is
 * started once more there, and this process ends with its exit code.
 */
export function showToOthers(script) {
  if (isSeen()) return;
  const shown = mkdtempSync(join(tmpdir(), 'fp-checkout-'));
  mkdirSync(shown, { recursive: true });
  spawnSync('chmod', ['755', shown]);
  const commands = 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"';
  const again = [process.execPath, join(shown, relative(root, script)), ...process.argv.slice(2)];
  const { status } = spawnSync('unshare', ['--mount', 'sh', '-c', commands, 'sh', root, shown, ...again], {
    stdio: 'inherit',
    env: { ...process.env, FORKPOINT_TEST_SHOWN: '1' },
  });
  rmSync(shown, { recursive: true, force: true });
  process.exit(status ?? 1);
}
