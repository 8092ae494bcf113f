import { spawn } from 'node:child_process';
import { chmod, copyFile, mkdir, mkdtemp, realpath, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { nativeDirectory } from '@forkpoint/engine';
import { encodeEnginePlan } from '@forkpoint/manifest';
import { places } from '@forkpoint/store';
import { runCommandLine } from '../src/index.ts';
import type { Cli } from '../src/index.ts';

/** The command line as it is published; every way to run the tests builds it first. */
export const bundle = join(import.meta.dirname, '../../forkpoint/dist/cli.cjs');

/** What a command did. */
export interface Result {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** Runs a program to its end, at most 10 seconds. */
export async function exec(
  file: string,
  args: readonly string[],
  options: { env?: NodeJS.ProcessEnv; cwd?: string } = {},
): Promise<Result> {
  const child = spawn(file, args, {
    env: options.env,
    cwd: options.cwd,
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 10_000,
  });
  const [out, err]: [string[], string[]] = [[], []];
  child.stdout.setEncoding('utf8').on('data', (text: string) => out.push(text));
  child.stderr.setEncoding('utf8').on('data', (text: string) => err.push(text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once('error', reject);
    child.once('close', resolve);
  });
  return { code, out: out.join(''), err: err.join('') };
}

/** A package that has been set up, with a launcher that tells what it was started with. */
export interface Installed {
  readonly root: string;
  readonly lib: string;
  readonly home: string;
  readonly env: NodeJS.ProcessEnv;
  /** Runs the command line in this process. What it starts does not write into the result. */
  readonly run: (...args: string[]) => Promise<Result>;
  /** Runs the built command line in a process of its own, for commands that start the launcher. */
  readonly start: (...args: string[]) => Promise<Result>;
}

/** The launcher of these tests: prints its arguments, shows the plan, and takes its exit code from the environment. */
const LAUNCHER = `#!/bin/sh
[ "$1" = cpu ] && { echo ffffffff; exit 0; }
printf 'launcher'; printf ' <%s>' "$@"; echo
[ "$1" = run ] && tr '\\0' '\\n' < "$2"
exit "\${LAUNCHER_EXIT:-0}"
`;

/** Makes a package in a directory with blanks in its name. */
export async function install(t: TestContext, options: { isSetUp?: boolean } = {}): Promise<Installed> {
  const root = await mkdtemp(join(tmpdir(), "forkpoint cli's-"));
  t.after(() => rm(root, { recursive: true, force: true }));
  const lib = join(root, 'lib');
  // The shim lies there, and LD_PRELOAD can hold no blanks.
  const home = await mkdtemp(join(tmpdir(), 'forkpoint-home-'));
  t.after(() => rm(home, { recursive: true, force: true }));
  await mkdir(join(lib, 'dist'), { recursive: true });
  await mkdir(join(lib, 'bin'));
  const native = nativeDirectory(home);
  await mkdir(native, { recursive: true });
  const script = join(import.meta.dirname, '../../forkpoint/bin/forkpoint');
  await copyFile(script, join(lib, 'bin', 'forkpoint'));
  await symlink(bundle, join(lib, 'dist', 'cli.cjs'));
  await writeFile(join(lib, 'dist', 'preload.cjs'), 'process.stdout.write("preloaded ")');
  if (options.isSetUp !== false) {
    await writeFile(join(native, 'launcher'), LAUNCHER);
    await chmod(join(native, 'launcher'), 0o755);
    await writeFile(join(native, 'shim.so'), '');
    await writeFile(
      join(home, 'engine', 'engine.plan'),
      encodeEnginePlan({ criu: ['/bin/true'], version: '4.2' }),
    );
  }
  const env = {
    PATH: process.env['PATH'],
    HOME: root,
    FORKPOINT_HOME: home,
    FORKPOINT_LIB: lib,
    FORKPOINT_NODE: process.execPath,
  };
  const run = (...args: string[]): Promise<Result> => runHere({ env, cwd: root, lib }, args);
  const start = (...args: string[]): Promise<Result> =>
    exec(process.execPath, [bundle, ...args], { env, cwd: root });
  return { root, lib, home, env, run, start };
}

/** Runs the command line in this process: its source, without the time that a process takes to start. */
async function runHere(
  { env, cwd, lib }: { env: NodeJS.ProcessEnv; cwd: string; lib: string },
  words: readonly string[],
): Promise<Result> {
  let [out, err] = ['', ''];
  const paint = (_tone: string, text: string): string => text;
  const cli: Cli = {
    env,
    cwd,
    lib: await realpath(lib),
    places: places(env, cwd),
    isErrTerminal: false,
    width: undefined,
    paintErr: paint,
    paintOut: paint,
    writeOut: (text) => void (out += text),
    writeErr: (text) => void (err += text),
  };
  const code = await runCommandLine(cli, words, '1.2.3');
  return { code, out, err };
}

/** A manifest with one TCP slot. */
export const MANIFEST = {
  formatVersion: 1,
  id: 'aaaaaaaaaaaa',
  parentId: null,
  generation: 0,
  createdAt: '2026-01-01T00:00:00.000Z',
  command: ['node'],
  cwd: '/',
  runtime: null,
  host: { arch: 'x86_64', cpu: [], kernel: '6', glibc: null },
  engine: { criu: '4.2', forkpoint: '0' },
  processes: [{ pid: 2, parentPid: 1, threads: [2], command: ['node'] }],
  slots: [
    {
      id: 'web',
      kind: 'tcp',
      key: 'k',
      flags: 2,
      isPollable: true,
      fds: [],
      family: 4,
      address: '127.0.0.1',
      port: 3000,
      backlog: 5,
      options: [],
    },
  ],
  clocks: { takenMs: 0, monotonic: { seconds: 1, nanoseconds: 0 }, boottime: { seconds: 1, nanoseconds: 0 } },
  files: [],
  layers: [],
  labels: {},
  warmup: null,
  score: null,
  reseed: false,
  origin: { run: 'bbbbbbbbbbbb', name: 'x' },
  controlDirectory: '/x',
  members: [],
};
