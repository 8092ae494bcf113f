import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { lastLine, runCommand } from './command.ts';
import type { CommandResult } from './command.ts';
import { EngineError } from './error.ts';

/** Where packages come from. */
export interface Archive {
  readonly mirror: string;
  readonly suite: string;
}

/** What every step of a fetch needs. */
export interface FetchContext {
  readonly env: NodeJS.ProcessEnv;
  readonly log: (line: string) => void;
  readonly signal: AbortSignal | undefined;
}

/** `closure` fetches the packages with everything they depend on, `exact` these packages alone. */
export type FetchMode = 'closure' | 'exact';

const UPDATE_TIMEOUT_MS = 5 * 60_000;
const DOWNLOAD_TIMEOUT_MS = 10 * 60_000;
const UNPACK_TIMEOUT_MS = 2 * 60_000;
/** Far more than the closure of CRIU (26 packages) and of tcc need. */
const MAX_PACKAGES = 400;
const KEYRINGS = [
  '/usr/share/keyrings/debian-archive-keyring.gpg',
  '/usr/share/keyrings/debian-archive-keyring.pgp',
];

// Read after the machine's own configuration, whose proxies and certificates stay in force. The lists that are cleared hold
// commands which would touch the machine's own apt directories, and indexes (DEP-11, CNF) that are large and of no use here.
// Images of containers turn apt's cache of parsed lists off: without it each command takes two seconds of processor time for them.
const CONFIGURATION = `
#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::CNF;
Dir::Cache::pkgcache "packages.bin";
APT::Architecture "amd64";
APT::Architectures { "amd64"; };
APT::Default-Release "";
APT::Install-Recommends "0";
APT::Install-Suggests "0";
APT::Sandbox::User "";
APT::Update::Error-Mode "any";
APT::Get::AllowUnauthenticated "0";
Acquire::AllowInsecureRepositories "0";
Acquire::Languages "none";
Acquire::Retries "2";
Acquire::http::Timeout "30";
Acquire::https::Timeout "30";
Debug::NoLocking "1";
`;

/**
 * Fetches Debian packages with apt in a state of its own below `area` and unpacks them into `root`. Needs no root and
 * touches nothing else: apt believes in a machine with no package installed, so it works out the whole closure, and it
 * checks the archive's signature. Throws ERR_FORKPOINT_FETCH with apt's reason.
 */
export async function fetchPackages(
  area: string,
  archive: Archive,
  packages: readonly string[],
  mode: FetchMode,
  context: FetchContext,
): Promise<{ root: string; count: number }> {
  const apt = prepareArea(area, archive);
  const env = { ...context.env, LC_ALL: 'C', LANGUAGE: 'C', DEBIAN_FRONTEND: 'noninteractive' };
  const run = async (what: string, argv: string[], timeoutMs: number): Promise<CommandResult> => {
    const result = await runCommand(argv, { env, cwd: apt.downloads, timeoutMs, signal: context.signal });
    if (result.exitCode === 0) return result;
    if (result.exitCode === 127) {
      throw new EngineError('ERR_FORKPOINT_NO_APT', `the command ${argv[0] ?? ''} is not on this machine`, {
        hint: 'install criu 4.2 or newer and a C compiler with the system’s own package manager',
      });
    }
    throw new EngineError('ERR_FORKPOINT_FETCH', `${archive.suite}: ${what}: ${aptReason(result)}`);
  };

  context.log(`reading the package list of Debian ${archive.suite}`);
  await run('the package list cannot be fetched', [...apt.argv, 'update'], UPDATE_TIMEOUT_MS);
  context.log(`fetching ${packages.join(', ')} from Debian ${archive.suite}`);
  const command =
    mode === 'closure'
      ? [...apt.argv, 'install', '-y', '--download-only', '--', ...packages]
      : [...apt.argv, 'download', '--', ...packages];
  await run(`${packages.join(', ')} cannot be fetched`, command, DOWNLOAD_TIMEOUT_MS);

  const directory = mode === 'closure' ? join(area, 'cache', 'archives') : apt.downloads;
  const debs = readdirSync(directory).filter((name) => name.endsWith('.deb'));
  if (debs.length === 0 || debs.length > MAX_PACKAGES) {
    throw new EngineError('ERR_FORKPOINT_FETCH', `${archive.suite}: apt fetched ${debs.length} packages`);
  }
  const root = join(area, 'root');
  mkdirSync(root, { mode: 0o755 });
  context.log(`unpacking ${debs.length} packages`);
  for (const deb of debs) {
    await run(`${deb} cannot be unpacked`, ['dpkg-deb', '-x', join(directory, deb), root], UNPACK_TIMEOUT_MS);
  }
  return { root, count: debs.length };
}

function prepareArea(area: string, archive: Archive): { argv: string[]; downloads: string } {
  const downloads = join(area, 'downloads');
  for (const path of ['lists/partial', 'cache/archives/partial', 'log', 'downloads']) {
    mkdirSync(join(area, path), { recursive: true, mode: 0o755 });
  }
  writeFileSync(join(area, 'status'), '');
  writeFileSync(join(area, 'apt.conf'), CONFIGURATION);
  // Without Debian's keyring file the keys that apt itself trusts decide.
  const keyring = KEYRINGS.find((path) => existsSync(path));
  const options = keyring === undefined ? '[arch=amd64]' : `[arch=amd64 signed-by=${keyring}]`;
  writeFileSync(join(area, 'sources.list'), `deb ${options} ${archive.mirror} ${archive.suite} main\n`);
  const settings = {
    'Dir::Etc::SourceList': join(area, 'sources.list'),
    'Dir::Etc::SourceParts': '/dev/null',
    'Dir::Etc::Preferences': '/dev/null',
    'Dir::Etc::PreferencesParts': '/dev/null',
    'Dir::State': area,
    'Dir::State::Lists': join(area, 'lists'),
    'Dir::State::status': join(area, 'status'),
    'Dir::State::extended_states': join(area, 'extended_states'),
    'Dir::Cache': join(area, 'cache'),
    'Dir::Log': join(area, 'log'),
  };
  const argv = ['apt-get', '-q', '-c', join(area, 'apt.conf')];
  for (const [name, value] of Object.entries(settings)) argv.push('-o', `${name}=${value}`);
  return { argv, downloads };
}

/** Returns the line of apt's output that names the cause: the first error, without apt's own prefix. */
function aptReason(result: CommandResult): string {
  if (result.isTimeout) return lastLine(result);
  const lines = `${result.stderr}\n${result.stdout}`.split('\n').map((line) => line.trim());
  const found = lines.find((line) => line.startsWith('E: ')) ?? lines.find((line) => line.startsWith('Err:'));
  return (found ?? lastLine(result)).replace(/^E: /, '').slice(0, 300);
}
