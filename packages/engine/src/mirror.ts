import { readFile } from 'node:fs/promises';
import { lastLine, runCommand } from './command.ts';
import { EngineError, errorCode } from './error.ts';

/** What `apt-get indextargets` says about one package list. A field is empty when apt does not know it. */
export interface IndexTarget {
  readonly uri: string;
  readonly origin: string;
  readonly codename: string;
  readonly release: string;
  readonly component: string;
}

const FORMAT = '$(REPO_URI)|$(ORIGIN)|$(CODENAME)|$(RELEASE)|$(COMPONENT)';
const MAX_MIRRORS = 3;
/** Suite names of Debian's main archive; a machine's own code name is added to them. */
const SUITES = ['stable', 'oldstable', 'testing', 'unstable', 'sid', 'bookworm', 'trixie', 'forky', 'duke'];
const HINT =
  'set FORKPOINT_DEBIAN_MIRROR to the address of a Debian archive (the one that holds dists/), or install criu 4.2 or newer';

/**
 * Returns addresses of Debian archives, the most promising first: the value of FORKPOINT_DEBIAN_MIRROR alone when it is
 * set, else what this machine's own apt configuration names. Throws ERR_FORKPOINT_NO_APT and ERR_FORKPOINT_NO_MIRROR.
 */
export async function findMirrors(
  env: NodeJS.ProcessEnv,
  signal?: AbortSignal,
): Promise<{ mirrors: string[]; codename: string }> {
  const codename = await hostCodename();
  const given = env['FORKPOINT_DEBIAN_MIRROR'] ?? '';
  if (given !== '') {
    if (!isMirror(given)) {
      throw new EngineError(
        'ERR_FORKPOINT_NO_MIRROR',
        `FORKPOINT_DEBIAN_MIRROR is not an address: ${given}`,
        {
          hint: HINT,
        },
      );
    }
    return { mirrors: [given], codename };
  }
  // Without --no-release-info apt is silent about sources whose lists were never fetched, as in a fresh container. With it
  // apt does not know origins: hence both.
  const targets: IndexTarget[] = [];
  // The second answer is in the sources alone, and apt would read all lists first.
  for (const extra of [[], ['--no-release-info', '-o', 'Dir::State::Lists=/nonexistent']]) {
    const argv = ['apt-get', 'indextargets', ...extra, '--format', FORMAT, 'Created-By: Packages'];
    const result = await runCommand(argv, { env: { ...env, LC_ALL: 'C' }, signal });
    if (result.exitCode === 127) {
      throw new EngineError(
        'ERR_FORKPOINT_NO_APT',
        'apt-get is not on this machine, so CRIU cannot be fetched',
        {
          hint: 'install criu 4.2 or newer with the system’s own package manager, then run `forkpoint setup`',
        },
      );
    }
    if (result.exitCode !== 0) {
      throw new EngineError(
        'ERR_FORKPOINT_NO_MIRROR',
        `apt cannot read its own sources: ${lastLine(result)}`,
        {
          hint: HINT,
        },
      );
    }
    targets.push(...parseIndexTargets(result.stdout));
  }
  const mirrors = chooseMirrors(targets, codename);
  if (mirrors.length === 0) {
    throw new EngineError('ERR_FORKPOINT_NO_MIRROR', 'apt’s sources on this machine name no Debian archive', {
      hint: HINT,
    });
  }
  return { mirrors, codename };
}

/** Parses the lines that `apt-get indextargets` printed; unknown fields, which apt leaves as `$(NAME)`, become empty. */
export function parseIndexTargets(text: string): IndexTarget[] {
  return text
    .split('\n')
    .filter((line) => line.includes('|'))
    .slice(0, 10_000)
    .map((line) => {
      const fields = line.split('|').map((field) => (/^\$\(.*\)$/.test(field) ? '' : field));
      const [uri = '', origin = '', codename = '', release = '', component = ''] = fields;
      return { uri, origin, codename, release, component };
    });
}

/**
 * Returns the addresses that can be Debian's main archive, best first, at most three. `codename` is that of this machine's
 * Debian, empty on another system.
 */
export function chooseMirrors(targets: readonly IndexTarget[], codename: string): string[] {
  const suites = new Set(codename === '' ? SUITES : [...SUITES, codename]);
  const score = new Map<string, number>();
  for (const target of targets) {
    if (target.component !== 'main' || !isMirror(target.uri)) continue;
    if (!suites.has(target.release)) continue;
    if (target.origin !== '' && target.origin !== 'Debian') continue;
    // Other vendors also call their suites after Debian's; Debian's mirrors end in /debian.
    const points = (target.origin === 'Debian' ? 2 : 0) + (/\/debian\/?$/.test(target.uri) ? 1 : 0);
    score.set(target.uri, Math.max(points, score.get(target.uri) ?? 0));
  }
  return [...score]
    .sort((a, b) => b[1] - a[1])
    .map(([uri]) => uri)
    .slice(0, MAX_MIRRORS);
}

/** An address goes into a line of sources.list: no spaces, no brackets, no quotes. */
function isMirror(text: string): boolean {
  return text.length <= 2048 && /^[a-z][a-z0-9+.-]*:[^\s"'[\]|\\]+$/.test(text);
}

async function hostCodename(): Promise<string> {
  try {
    const text = await readFile('/etc/os-release', 'utf8');
    const value = (name: string): string =>
      new RegExp(`^${name}="?([a-z0-9.-]*)"?$`, 'm').exec(text)?.[1] ?? '';
    return value('ID') === 'debian' ? value('VERSION_CODENAME') : '';
  } catch (error) {
    if (errorCode(error) === 'ENOENT') return '';
    throw error;
  }
}
