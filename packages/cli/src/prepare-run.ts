import { createHash } from 'node:crypto';
import { access, constants, mkdir, readFile, stat, symlink, writeFile } from 'node:fs/promises';
import { join, resolve } from 'node:path';
import {
  checkPattern,
  encodeRunPlan,
  ManifestError,
  parseFdPolicies,
  POLICY_FILE,
} from '@forkpoint/manifest';
import { checkName, defaultName, ensureHome, errnoOf, listRuns, newId, reasonOf } from '@forkpoint/store';
import { packageFiles } from './context.ts';
import type { Cli, PackageFiles } from './context.ts';
import { CliError, EXIT } from './error.ts';
import { findProgram } from './find-program.ts';
import { isPreloadable, withPreload, withRequire } from './node-options.ts';
import { adapt } from './runtimes/adapt.ts';
import type { Adaptation } from './runtimes/adapt.ts';
import { behindEnv } from './runtimes/recognise.ts';

/** What a user may say about a run. */
export interface RunRequest {
  readonly command: readonly string[];
  readonly name?: string | undefined;
  /** Relative to `to.cwd`. */
  readonly to?: { readonly dest: string; readonly cwd: string } | undefined;
  readonly env?: Readonly<Record<string, string>> | undefined;
  /** Absolute, or relative to the context's directory. */
  readonly cwd?: string | undefined;
  /** A file with rules for descriptors, absolute or relative to the context's directory. */
  readonly fdPolicy?: string | undefined;
  /** Whether members keep the stacks that opened their descriptors. */
  readonly isTraced?: boolean;
  readonly isDetached: boolean;
  readonly isJson: boolean;
  /** Whether the library and the shim are preloaded. */
  readonly isPreloaded: boolean;
}

/** Variables that speak to this command line and not to the program. */
const OWN_VARIABLES = ['FORKPOINT_LIB', 'FORKPOINT_PLAN_FD'];

/**
 * Checks everything that can be checked before a run and writes its plan; returns the plan's path.
 * Throws a CliError with exit code 125, or 126 and 127 for the program itself.
 */
export async function prepareRun(cli: Cli, request: RunRequest): Promise<string> {
  const files = packageFiles(cli.lib, cli.places.home);
  await checkSetup(cli, files);
  await ensureHome(cli.places);
  const cwd = await workingDirectory(cli, request.cwd);
  const { file, adapted } = adaptRequest(cli, request, cwd);
  const to =
    request.to ?? (adapted.checkpointTo === undefined ? null : { dest: cracPath(adapted.checkpointTo), cwd });
  if (to !== null) checkPattern(to.dest);
  for (const warning of adapted.warnings)
    cli.writeErr(`${cli.paintErr('warning', 'Warning:')} ${warning}.\n`);
  const name = await nameOf(cli, request);
  const env = { ...(await programEnvironment(cli, request, files)), ...adapted.env };
  const policy = await policyFile(cli, request.fdPolicy, cwd);
  if (policy !== undefined) env['FORKPOINT_FD_POLICY'] = policy;
  const id = newId();
  const dir = join(cli.places.runs, id);
  for (const directory of [dir, join(dir, 'ctl'), join(dir, 'results')])
    await mkdir(directory, { mode: 0o700 });
  const plan = join(dir, 'run.plan');
  const bytes = encodeRunPlan({
    id,
    name,
    home: cli.places.home,
    dir,
    cwd,
    file,
    args: adapted.command,
    env,
    command: adapted.command,
    to,
    isDetached: request.isDetached,
    isJson: request.isJson,
    worker: [process.execPath, files.worker],
  });
  await writeFile(plan, bytes, { mode: 0o600, flag: 'wx' });
  return plan;
}

/** Finds the program and what is added to its command; without the preload nothing is. */
export function adaptRequest(
  cli: Cli,
  request: Pick<RunRequest, 'command' | 'env' | 'isPreloaded'>,
  cwd: string,
): { file: string; adapted: Adaptation } {
  const { command, isPreloaded } = request;
  const outer = { ...cli.env, ...request.env };
  const file = findProgram(command[0] ?? '', outer['PATH'], cwd);
  const { prefix, set, rest } = behindEnv(command);
  const env = { ...outer, ...set };
  const program = prefix.length === 0 ? file : findProgram(rest[0] ?? '', env['PATH'], cwd);
  const adapted = adapt(rest, program, { lib: cli.lib, cache: cli.places.cache, env });
  if (!isPreloaded) return { file, adapted: { kind: adapted.kind, command, env: {}, warnings: [] } };
  // What env(1) sets comes last: what is to go with it stands there too.
  const again = Object.entries(adapted.env).filter(([name]) => name in set);
  const words = again.map(([name, value]) => `${name}=${value}`);
  return { file, adapted: { ...adapted, command: [...prefix, ...words, ...adapted.command] } };
}

// CRaC takes every name for a path.
function cracPath(place: string): string {
  return place.includes('/') || place.startsWith('.') ? place : `./${place}`;
}

/** Throws a CliError with exit code 125 unless the launcher and the engine are there. */
export async function checkSetup(cli: Cli, files: PackageFiles): Promise<void> {
  for (const [file, mode] of [
    [files.launcher, constants.X_OK],
    [cli.places.enginePlan, constants.R_OK],
  ] as const) {
    try {
      await access(file, mode);
    } catch (error) {
      if (mode === constants.X_OK && (await isBarred(file))) {
        throw new CliError(`programs cannot be executed in the data directory ${cli.places.home}`, {
          code: 'ERR_FORKPOINT_HOME',
          exitCode: EXIT.ours,
          causes: [`its file system is mounted noexec: ${file} may not be executed`],
          hint: 'Set FORKPOINT_HOME to a directory on a file system that is not mounted noexec',
        });
      }
      const why = errnoOf(error) === 'ENOENT' ? 'is not there' : `cannot be used: ${reasonOf(error)}`;
      throw new CliError('this machine has not been set up for forkpoint', {
        code: 'ERR_FORKPOINT_SETUP',
        exitCode: EXIT.ours,
        causes: [`${file} ${why}`],
        hint: 'Run `forkpoint setup`',
      });
    }
  }
}

/** Whether a file has the right to be executed, so that it is the mount which forbids it. */
async function isBarred(file: string): Promise<boolean> {
  try {
    return ((await stat(file)).mode & 0o100) !== 0;
  } catch {
    // It is not there: that is another message.
    return false;
  }
}

async function workingDirectory(cli: Cli, given: string | undefined): Promise<string> {
  const cwd = resolve(cli.cwd, given ?? '.');
  try {
    if ((await stat(cwd)).isDirectory()) return cwd;
  } catch (error) {
    throw new CliError(`the working directory ${cwd} cannot be used: ${reasonOf(error)}`, {
      exitCode: EXIT.ours,
    });
  }
  throw new CliError(`the working directory ${cwd} is not a directory`, { exitCode: EXIT.ours });
}

/** Checks the rules for descriptors before the program starts; returns the path of the file that the user named. */
async function policyFile(cli: Cli, given: string | undefined, cwd: string): Promise<string | undefined> {
  const path = given === undefined ? join(cwd, POLICY_FILE) : resolve(cli.cwd, given);
  let content: string;
  try {
    content = await readFile(path, 'utf8');
  } catch (error) {
    if (given === undefined && errnoOf(error) === 'ENOENT') return undefined;
    throw new CliError(`the descriptor policies ${path} cannot be read: ${reasonOf(error)}`, {
      exitCode: EXIT.ours,
    });
  }
  try {
    parseFdPolicies(content, path);
  } catch (error) {
    const hint = error instanceof ManifestError ? error.hint : undefined;
    throw new CliError(reasonOf(error), { code: 'ERR_FORKPOINT_POLICY', exitCode: EXIT.ours, hint });
  }
  return given === undefined ? undefined : path;
}

async function nameOf(cli: Cli, request: RunRequest): Promise<string> {
  const living = (await listRuns(cli.places.runs)).filter((run) => run.isAlive);
  const taken = new Set(living.map((run) => run.name));
  if (request.name === undefined) return defaultName(request.command, taken);
  if (!taken.has(checkName(request.name))) return request.name;
  throw new CliError(`a run called \`${request.name}\` is alive already`, {
    code: 'ERR_FORKPOINT_NAME_TAKEN',
    exitCode: EXIT.ours,
    hint: `Choose another name, or end it with \`forkpoint kill ${request.name}\``,
  });
}

async function programEnvironment(
  cli: Cli,
  request: RunRequest,
  files: PackageFiles,
): Promise<Record<string, string>> {
  const env: Record<string, string> = {};
  for (const [name, value] of Object.entries({ ...cli.env, ...request.env })) {
    if (value !== undefined && !OWN_VARIABLES.includes(name)) env[name] = value;
  }
  env['FORKPOINT_DIR'] = cli.places.pod;
  // A relative data directory would mean another one in a program that changes its directory.
  if (env['FORKPOINT_HOME'] !== undefined) env['FORKPOINT_HOME'] = cli.places.home;
  env['FORKPOINT_NATIVE'] = files.native;
  if (request.isTraced === true) env['FORKPOINT_TRACE_RESOURCES'] = '1';
  if (!request.isPreloaded) return env;
  env['NODE_OPTIONS'] = withRequire(env['NODE_OPTIONS'], files.preload);
  const shim = await preloadable(cli, files.shim);
  if (shim !== undefined) env['LD_PRELOAD'] = withPreload(env['LD_PRELOAD'], shim);
  return env;
}

/** Returns a path for the shim that LD_PRELOAD can hold: its own, or that of a symbolic link in the cache. */
async function preloadable(cli: Cli, shim: string): Promise<string | undefined> {
  try {
    await access(shim, constants.R_OK);
  } catch {
    cli.writeErr(
      `${cli.paintErr('warning', 'Warning:')} The preload shim ${shim} is not there; run \`forkpoint setup\`.\n`,
    );
    return undefined;
  }
  if (isPreloadable(shim)) return shim;
  const link = join(
    cli.places.cache,
    `shim-${createHash('sha256').update(shim).digest('hex').slice(0, 12)}.so`,
  );
  if (!isPreloadable(link)) {
    const why = 'neither its path nor the data directory may hold blanks, colons or dollar signs';
    cli.writeErr(`${cli.paintErr('warning', 'Warning:')} The preload shim is left out: ${why}.\n`);
    return undefined;
  }
  try {
    await symlink(shim, link);
  } catch (error) {
    // The name is made from the target, so that an earlier link leads to the same place.
    if (errnoOf(error) !== 'EEXIST') throw error;
  }
  return link;
}
