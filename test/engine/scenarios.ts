import { spawnSync } from 'node:child_process';
import { chownSync, copyFileSync, chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { findCompiler } from '@forkpoint/engine';
import { eventually, fetchText, nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse, portOf } from './helpers.ts';
import type { Started } from './helpers.ts';
import { childrenOf, commandOf, launcherOf, logOf } from './pods.ts';

/** A run of descriptors.cjs, asked over HTTP. */
export interface Asked {
  readonly run: Started;
  readonly port: number;
  /** Returns the scenario's state. */
  state<T>(): Promise<T>;
  /** Has the scenario do something. */
  act<T>(verb: string, text?: string): Promise<T>;
}

function asked(run: Started, port: number): Asked {
  return {
    run,
    port,
    state: async <T>() => parse<T>(await fetchText(port, '/')),
    act: async <T>(verb: string, text = '') =>
      parse<T>(await fetchText(port, `/do/${verb}/${encodeURIComponent(text)}`)),
  };
}

/** Starts a scenario of descriptors.cjs in a pod. */
export async function begin(
  person: Person,
  scenario: string,
  args: readonly string[] = [],
  options: { run?: readonly string[]; node?: readonly string[]; cwd?: string } = {},
): Promise<Asked> {
  const command = [
    nodeBinary(24),
    ...(options.node ?? []),
    programPath('descriptors.cjs'),
    scenario,
    ...args,
  ];
  const cwd = options.cwd ?? person.scratch;
  const run = (await person.json([
    'run',
    '-d',
    '--cwd',
    cwd,
    ...(options.run ?? []),
    '--',
    ...command,
  ])) as Started;
  return asked(run, await portOf(person, run.id));
}

interface ManifestSlot {
  readonly id: string;
  readonly kind: string;
  readonly port?: number;
}

/** Restores an image with every listening socket at a new place; `addresses` are those by the port or path of the original. */
export async function again(
  person: Person,
  image: string,
  origin: Asked,
  flags: readonly string[] = [],
): Promise<Asked & { readonly addresses: ReadonlyMap<string, string> }> {
  const manifest = parse<{ slots: readonly ManifestSlot[] }>(
    readFileSync(join(image, 'manifest.json'), 'utf8'),
  );
  const listen = manifest.slots.flatMap(({ id, kind }) => {
    if (kind === 'tcp') return ['--listen', `${id}=127.0.0.1:0`];
    return kind === 'unix'
      ? ['--listen', `${id}=${join(person.scratch, `${id}-${Math.random().toString(36).slice(2)}`)}`]
      : [];
  });
  const run = (await person.json(['restore', image, '-d', ...listen, ...flags])) as Started;
  const addresses = new Map(run.slots.map(({ id, address }) => [id, address]));
  const address = addresses.get(`tcp-${origin.port}`) ?? addresses.get(rootSlot(manifest.slots)) ?? '';
  return { ...asked(run, Number(address.slice(address.lastIndexOf(':') + 1))), addresses };
}

// In a clone of a clone the slot keeps the number of the port that was made anew: the HTTP server is the last one.
function rootSlot(slots: readonly ManifestSlot[]): string {
  return slots.filter(({ kind }) => kind === 'tcp').at(-1)?.id ?? '';
}

/** Checkpoints a run into a directory of its own and returns the directory. */
export async function take(person: Person, id: string, name: string): Promise<string> {
  await person.json(['checkpoint', id, `./${name}`]);
  return join(person.scratch, name);
}

/** Compiles descriptors.c with the compiler that the launcher is built with, and returns the program. */
export async function compileNative(person: Person): Promise<string> {
  const engine = process.env['FORKPOINT_TEST_ENGINE'] ?? '';
  const compiler = await findCompiler(engine, 'auto', {
    env: process.env,
    log: () => undefined,
    signal: undefined,
  });
  const program = join(person.scratch, 'descriptors');
  const [file = '', ...args] = compiler.executable([programPath('descriptors.c')], program, false);
  const { status, stderr } = spawnSync(file, args, { encoding: 'utf8', timeout: 60_000 });
  if (status !== 0) throw new Error(`descriptors.c cannot be compiled: ${stderr}`);
  chmodSync(program, 0o755);
  return program;
}

/** Copies a program for a test that removes it. */
export function copyOf(person: Person, program: string): string {
  const copy = `${program}-copy`;
  copyFileSync(program, copy);
  chmodSync(copy, 0o755);
  chownSync(copy, person.uid, person.uid);
  return copy;
}

/** Starts a scenario of descriptors.c and waits until it is set up. */
export async function beginNative(
  person: Person,
  program: string,
  scenario: string,
  argument = '',
  flags: readonly string[] = [],
): Promise<string> {
  const { id } = (await person.json(['run', '-d', ...flags, '--', program, scenario, argument])) as Started;
  await eventually(() => (/^ready$/m.test(logOf(person, id)) ? true : undefined), `${scenario} ready`);
  return id;
}

/** Asks a run of descriptors.c about its state; returns one line, or what else the answer is to be, without its last line end. */
export async function askNative(person: Person, id: string, answer = /^.+\n/): Promise<string> {
  const before = logOf(person, id).length;
  const program = childrenOf(launcherOf(person, id)).find(
    (pid) => /worker\.cjs/.exec(commandOf(pid)) === null,
  );
  if (program === undefined) throw new Error(`${id} has ended`);
  process.kill(program, 'SIGUSR1');
  const found = await eventually(
    () => answer.exec(logOf(person, id).slice(before))?.[0],
    `an answer of ${id}`,
  );
  return found.trimEnd();
}
