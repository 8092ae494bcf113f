import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';

import { buildSync } from 'esbuild';

import type { FakeLauncher } from './fake-launcher.ts';

const PACKAGES = join(import.meta.dirname, '../..');
const MODULES = join(PACKAGES, '../node_modules');
const LIMIT_MS = 15_000;

/** The Node binaries under test. */
export const NODES: readonly (readonly [string, string])[] = ['node20', 'node24'].map((name) => [
  name,
  join(MODULES, name, 'bin/node'),
]);

/** The library as users get it, in a directory of its own, with the fixtures beside it. */
export interface BuiltLibrary {
  readonly directory: string;
  readonly preload: string;
  readonly native: string;
  remove(): void;
}

/** Builds the published bundles, reseed.node, and a copy of the fixtures that can import `forkpoint`. */
export function buildLibrary(): BuiltLibrary {
  const directory = mkdtempSync(join(tmpdir(), 'forkpoint-lib-'));
  const home = join(directory, 'node_modules/forkpoint');
  const native = join(home, 'native');
  mkdirSync(native, { recursive: true });
  cpSync(join(PACKAGES, 'forkpoint/package.json'), join(home, 'package.json'));
  buildSync({
    entryPoints: [join(PACKAGES, 'forkpoint/src/index.ts'), join(PACKAGES, 'forkpoint/src/preload.ts')],
    outdir: join(home, 'dist'),
    outExtension: { '.js': '.cjs' },
    bundle: true,
    platform: 'node',
    format: 'cjs',
    target: 'node20',
    logLevel: 'error',
  });
  const names = 'checkpoint, CheckpointException, Core, createContext, RestoreException';
  const entry = `import library from './index.cjs';\nexport const { ${names} } = library;\n`;
  writeFileSync(join(home, 'dist/index.mjs'), entry);
  const source = join(PACKAGES, 'launcher/shim/reseed.c');
  execFileSync('cc', ['-O2', '-shared', '-fPIC', '-nostdlib', '-o', join(native, 'reseed.node'), source]);
  cpSync(join(import.meta.dirname, 'fixtures'), join(directory, 'fixtures'), { recursive: true });
  return {
    directory,
    preload: join(home, 'dist/preload.cjs'),
    native,
    remove: () => rmSync(directory, { recursive: true, force: true }),
  };
}

/** How a fixture is started. */
export interface StartOptions {
  readonly node: string;
  readonly library: BuiltLibrary;
  readonly launcher?: FakeLauncher;
  readonly env?: Readonly<Record<string, string>>;
  readonly args?: readonly string[];
  readonly nodeArgs?: readonly string[];
}

/** A running fixture: it prints one JSON value per line, and takes commands on its stdin. */
export class Fixture {
  readonly child: ChildProcess;
  readonly stderr: string[] = [];
  readonly #lines: AsyncIterator<string>;

  constructor(name: string, options: StartOptions) {
    const { library, launcher, node } = options;
    const pod = launcher
      ? {
          FORKPOINT_DIR: launcher.directory,
          FORKPOINT_NATIVE: library.native,
          NODE_OPTIONS: `--require=${library.preload}`,
        }
      : {};
    this.child = spawn(
      node,
      [...(options.nodeArgs ?? []), join(library.directory, 'fixtures', name), ...(options.args ?? [])],
      {
        env: { PATH: process.env['PATH'], ...pod, ...options.env },
        stdio: ['pipe', 'pipe', 'pipe'],
        timeout: LIMIT_MS,
        killSignal: 'SIGKILL',
        cwd: library.directory,
      },
    );
    if (!this.child.stdout || !this.child.stderr) throw new Error('the fixture has no pipes');
    this.child.stderr.on('data', (chunk) => this.stderr.push(String(chunk)));
    this.#lines = createInterface({ input: this.child.stdout })[Symbol.asyncIterator]();
  }

  get pid(): number {
    return this.child.pid ?? 0;
  }

  /** Returns the next line of output as a value. */
  async line(): Promise<Record<string, unknown>> {
    const { value, done } = await this.#lines.next();
    if (done) throw new Error(`the fixture ended: ${this.stderr.join('')}`);
    return JSON.parse(value) as Record<string, unknown>;
  }

  say(command: string): void {
    this.child.stdin?.write(`${command}\n`);
  }

  /** Ends the fixture and waits for it. */
  async stop(): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const ended = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill('SIGKILL');
    await ended;
  }
}
