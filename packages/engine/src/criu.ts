import { accessSync, constants, statSync } from 'node:fs';
import { delimiter, join } from 'node:path';
import { lastLine, runCommand } from './command.ts';
import { readProc } from './doctor-row.ts';
import { EngineError, errorCode } from './error.ts';

/** The oldest CRIU that works: 4.1 cannot dump inet sockets on Linux 6.16 and newer, nor guarded thread stacks. */
export const MINIMUM_CRIU = '4.2';

/** What `criu check` came to. `unknown` means that it could not be run, which says nothing about CRIU. */
export interface CriuCheck {
  readonly verdict: 'good' | 'bad' | 'unknown';
  /** One line; empty when all is good. */
  readonly reason: string;
}

const CALL_TIMEOUT_MS = 30_000;
const CAP_SYS_ADMIN = 21n;
const EXTRA_DIRECTORIES = ['/usr/local/sbin', '/usr/sbin', '/sbin'];
/** What a rootless pod cannot do without, as `criu check --feature` names it. */
const FEATURES = ['timens', 'clone3_set_tid', 'ns_pid', 'userns', 'mnt_id', 'can_map_vdso'];
// Turning on TCP repair needs CAP_NET_ADMIN over the network namespace, which a pod in the host's network never has. CRIU
// stops its check there, but connections are closed in clones (--tcp-close), for which it is not needed.
const HARMLESS = /Can't turn TCP repair mode ON/;

/** Returns the environment in which CRIU is called for questions: its cache of kernel features must not be written, because the answers differ between a pod and here. */
export function criuEnv(env: NodeJS.ProcessEnv): NodeJS.ProcessEnv {
  return { ...env, LC_ALL: 'C', XDG_RUNTIME_DIR: '/nonexistent', GNUTLS_NO_IMPLICIT_INIT: '1' };
}

/** Returns every executable file `criu` on the search path and in the system's sbin directories, in that order. */
export function systemCrius(searchPath: string): string[] {
  const directories = [...searchPath.split(delimiter), ...EXTRA_DIRECTORIES].filter((path) =>
    path.startsWith('/'),
  );
  return [...new Set(directories)].map((path) => join(path, 'criu')).filter(isExecutable);
}

/** Returns the version that a CRIU reports, such as `4.2.1`; throws ERR_FORKPOINT_ENGINE_BROKEN when it does not start. */
export async function criuVersion(criu: readonly string[], signal?: AbortSignal): Promise<string> {
  const result = await runCommand([...criu, '--version'], {
    env: criuEnv(process.env),
    timeoutMs: CALL_TIMEOUT_MS,
    signal,
  });
  const version = /^Version: ([0-9]+(?:\.[0-9]+)+)/m.exec(result.stdout)?.[1];
  if (result.exitCode === 0 && version !== undefined) return version;
  throw new EngineError(
    'ERR_FORKPOINT_ENGINE_BROKEN',
    `${criu.at(-1) ?? ''} does not start: ${lastLine(result)}`,
    {
      hint: 'run `forkpoint setup --force`',
    },
  );
}

/** Throws ERR_FORKPOINT_ENGINE_VERSION when a version is older than the oldest that works. */
export function requireVersion(version: string, where: string): void {
  if (isAtLeast(version, MINIMUM_CRIU)) return;
  throw new EngineError(
    'ERR_FORKPOINT_ENGINE_VERSION',
    `${where} is CRIU ${version}, and ${MINIMUM_CRIU} is needed`,
    {
      hint: 'run `forkpoint setup`, which fetches a newer one beside it',
    },
  );
}

/** Tells whether a dotted version is the given one or newer. */
export function isAtLeast(version: string, minimum: string): boolean {
  const have = version.split('.').map(Number);
  const need = minimum.split('.').map(Number);
  for (let index = 0; index < Math.max(have.length, need.length); index++) {
    const difference = (have[index] ?? 0) - (need[index] ?? 0);
    if (difference !== 0) return difference > 0;
  }
  return true;
}

/** Asks CRIU whether this kernel will do, with the rights that it has in a pod: for an ordinary user, in a user namespace. */
export async function checkCriu(criu: readonly string[], signal?: AbortSignal): Promise<CriuCheck> {
  const options = { env: criuEnv(process.env), timeoutMs: CALL_TIMEOUT_MS, signal };
  if (inside().length > 0) {
    const trial = await runCommand([...inside(), 'true'], options);
    if (trial.exitCode !== 0) return { verdict: 'unknown', reason: lastLine(trial) };
  }
  const whole = await runCommand([...inside(), ...criu, 'check', '--unprivileged'], options);
  if (whole.exitCode !== 0) {
    const errors = `${whole.stderr}\n${whole.stdout}`
      .split('\n')
      .filter((line) => line.startsWith('Error'))
      // Written by every unprivileged CRIU (criu/net.c asks for nftables) and without consequence.
      .filter((line) => !/net: Unexpected error: -1|Can't setup RLIMIT_NOFILE/.test(line));
    const cause = errors.find((line) => !HARMLESS.test(line));
    if (cause !== undefined || errors.length === 0) {
      return { verdict: 'bad', reason: cause ?? lastLine(whole) };
    }
  }
  for (const feature of FEATURES) {
    if (await hasFeature(criu, feature, signal)) continue;
    return { verdict: 'bad', reason: `CRIU finds no support for ${feature}` };
  }
  return { verdict: 'good', reason: '' };
}

/** Tells whether this kernel has what CRIU calls a feature (`criu check --feature`). */
export async function hasFeature(
  criu: readonly string[],
  feature: string,
  signal?: AbortSignal,
): Promise<boolean> {
  const argv = [...inside(), ...criu, 'check', '--unprivileged', '--feature', feature];
  const result = await runCommand(argv, { env: criuEnv(process.env), timeoutMs: CALL_TIMEOUT_MS, signal });
  return result.exitCode === 0;
}

/** What runs CRIU with capabilities: root has them, unless a container has taken them away. */
function inside(): string[] {
  const capabilities = BigInt(
    `0x${/^CapEff:\s*([0-9a-f]+)$/m.exec(readProc('/proc/self/status') ?? '')?.[1] ?? '0'}`,
  );
  const isAdmin = ((capabilities >> CAP_SYS_ADMIN) & 1n) === 1n;
  return isAdmin ? [] : ['unshare', '--user', '--map-root-user', '--'];
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return statSync(path).isFile();
  } catch (error) {
    if (['ENOENT', 'EACCES', 'ENOTDIR', 'ELOOP'].includes(errorCode(error))) return false;
    throw error;
  }
}
