import { realpathSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { nativeDirectory } from '@forkpoint/engine';
import { places } from '@forkpoint/store';
import type { Places } from '@forkpoint/store';
import { paintFor } from './ui/colour.ts';
import type { Paint } from './ui/colour.ts';

/** What a command gets: where it is, and how it speaks. */
export interface Cli {
  readonly env: Readonly<Record<string, string | undefined>>;
  readonly cwd: string;
  /** The package root, which holds `dist` and `native`. */
  readonly lib: string;
  readonly places: Places;
  readonly isErrTerminal: boolean;
  /** Width of the terminal on stdout in columns; undefined when there is none. */
  readonly width: number | undefined;
  readonly paintErr: Paint;
  readonly paintOut: Paint;
  /** Writes data to stdout. */
  writeOut(text: string): void;
  /** Writes everything else to stderr. */
  writeErr(text: string): void;
}

/** Where the parts of the package lie. */
export interface PackageFiles {
  readonly launcher: string;
  readonly native: string;
  readonly shim: string;
  readonly preload: string;
  readonly worker: string;
}

/** Returns the files of the package below its root, and those built for this data directory. */
export function packageFiles(lib: string, home: string): PackageFiles {
  const native = nativeDirectory(home);
  return {
    native,
    launcher: join(native, 'launcher'),
    shim: join(native, 'shim.so'),
    preload: join(lib, 'dist', 'preload.cjs'),
    worker: join(lib, 'dist', 'worker.cjs'),
  };
}

/** Returns the file of the codec's addon, as it was built for this data directory. */
export function codecAddon(home: string): string {
  return join(nativeDirectory(home), 'codec.node');
}

/** Returns the context of this process. */
export function processContext(): Cli {
  const { env, stdout, stderr } = process;
  const cwd = process.cwd();
  return {
    env,
    cwd,
    lib: packageRoot(env),
    places: places(env, cwd),
    isErrTerminal: stderr.isTTY && env['TERM'] !== 'dumb',
    width: stdout.isTTY ? stdout.columns : undefined,
    paintErr: paintFor(stderr, env),
    paintOut: paintFor(stdout, env),
    writeOut: (text) => void stdout.write(text),
    writeErr: (text) => void stderr.write(text),
  };
}

function packageRoot(env: Readonly<Record<string, string | undefined>>): string {
  const given = env['FORKPOINT_LIB'];
  if (given !== undefined && given !== '') return realpathSync(given);
  // Started without bin/forkpoint: this file is dist/cli.cjs.
  return dirname(dirname(realpathSync(process.argv[1] ?? process.execPath)));
}
