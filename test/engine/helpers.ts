import { readFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { eventually, fetchText, nodeBinary, programPath, root } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';

/** A living run as `forkpoint run -d --json` or `restore -d --json` tells it. */
export interface Started {
  readonly id: string;
  readonly image: string | null;
  readonly generation: number;
  readonly slots: readonly { readonly id: string; readonly address: string }[];
}

/** What a test reads of the server's answers. */
export interface Randoms {
  readonly random: number;
  readonly uuid: string;
  readonly int: number;
  readonly bytes: string;
  readonly values: readonly number[];
}

/** Parses JSON of a shape that the test knows. */
export function parse<T>(text: string): T {
  return JSON.parse(text) as T;
}

/** Starts the Fastify server in a pod, detached, and returns its run and port. */
export async function startServer(
  person: Person,
  options: { node?: 20 | 24; name?: string; args?: readonly string[] } = {},
): Promise<{ run: Started; port: number }> {
  const name = options.name === undefined ? [] : ['--name', options.name];
  const command = [nodeBinary(options.node ?? 24), ...(options.args ?? []), programPath('server.cjs')];
  const run = (await person.json(['run', '-d', ...name, '--cwd', root, '--', ...command], {
    env: { PORT: '0' },
  })) as Started;
  return { run, port: await portOf(person, run.id) };
}

/** Waits until the server's log says where it listens. */
export async function portOf(person: Person, id: string): Promise<number> {
  const log = join(person.home, 'runs', id, 'log');
  return await eventually(() => {
    const match = /listening on http:\/\/127\.0\.0\.1:(\d+)/.exec(readFileSync(log, 'utf8'));
    return match === null ? undefined : Number(match[1]);
  }, `run ${id} listening`);
}

/** Restores an image detached, with every TCP slot on a port of the kernel's choice, and returns the run and the first port. */
export async function restoreAnywhere(
  person: Person,
  image: string,
  options: { slot?: string; flags?: readonly string[]; args?: readonly string[] } = {},
): Promise<{ run: Started; port: number }> {
  const slot = options.slot ?? slotOf(person, image);
  const run = (await person.json([
    'restore',
    image,
    '-d',
    '--listen',
    `${slot}=127.0.0.1:0`,
    ...(options.flags ?? []),
    ...(options.args ?? []),
  ])) as Started;
  const address = run.slots.find(({ id }) => id === slot)?.address ?? '';
  return { run, port: Number(address.slice(address.lastIndexOf(':') + 1)) };
}

/** What `forkpoint inspect` would say, without the start of a command. */
function slotOf(person: Person, image: string): string {
  const base = image.startsWith('.') ? person.scratch : join(person.home, 'images');
  const manifest = parse<{ slots: { id: string; kind: string }[] }>(
    readFileSync(resolve(base, image, 'manifest.json'), 'utf8'),
  );
  const slot = manifest.slots.find(({ kind }) => kind === 'tcp');
  if (slot === undefined) throw new Error(`${image} has no listening socket`);
  return slot.id;
}

/** Asks the server for its random values. */
export async function randoms(port: number): Promise<Randoms> {
  return parse<Randoms>(await fetchText(port, '/random'));
}

/** Every value of an answer as text, for comparing two clones. */
export function tokens(values: Randoms): string[] {
  return [String(values.random), values.uuid, String(values.int), values.bytes, ...values.values.map(String)];
}
