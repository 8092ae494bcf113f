// Many clones of one image, each of which says what it has drawn, and what of it two of them have in common.
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { nodeBinary, programPath } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';
import { parse } from './helpers.ts';

/** What one clone has drawn: by kind, texts that hold 64 random bits or more. */
export type Draws = Readonly<Record<string, string>>;

/** Clones that run at the same time: more would only wait for each other. */
const AT_ONCE = 4;
const LIMIT_MS = 120_000;

/** A name server whose address for each name is the id of the query, so that who asked learns what it drew. */
export async function startNameServer(): Promise<{ address: string; stop: () => Promise<void> }> {
  const socket = createSocket('udp4');
  socket.on('message', (query, { port, address }) => {
    const answer = Buffer.from([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 0, 0, 4, 127, 0, ...query.subarray(0, 2)]);
    // The question ends behind the name's zero, its type and its class; what may follow is about the asker.
    const question = query.subarray(12, query.indexOf(0, 12) + 5);
    const head = Buffer.from([...query.subarray(0, 2), 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
    socket.send(Buffer.concat([head, question, answer]), port, address);
  });
  socket.bind(0, '127.0.0.1');
  await once(socket, 'listening');
  const stop = async (): Promise<void> => {
    socket.close();
    await once(socket, 'close');
  };
  return { address: `127.0.0.1:${socket.address().port}`, stop };
}

/** Takes an image of a program whose caches and pools are all filled. */
export async function takeDrawing(
  person: Person,
  node: 20 | 24,
  image: string,
  nameServer: string,
): Promise<void> {
  // With more than one thread for asynchronous work, chance decides which draws what.
  const single = ['--env', 'UV_THREADPOOL_SIZE=1'];
  const argv = ['run', ...single, '--', nodeBinary(node), programPath('drawing.cjs'), image, nameServer];
  const { code, stdout, stderr } = await person.finish(argv, { timeoutMs: LIMIT_MS });
  if (code !== 0) throw new Error(`no image was taken: ${stderr}${stdout}`);
}

/** Restores so many clones, a few at a time, and returns what each has drawn. */
export async function drawClones(
  person: Person,
  image: string,
  count: number,
  options: readonly string[] = [],
): Promise<Draws[]> {
  const draws: Draws[] = [];
  let left = count;
  const restoreSome = async (): Promise<void> => {
    while (left-- > 0) {
      const { code, stdout, stderr } = await person.finish(['restore', image, ...options], {
        timeoutMs: LIMIT_MS,
      });
      const line = stdout.split('\n').find((one) => one.startsWith('{'));
      if (code !== 0 || line === undefined) throw new Error(`a clone failed: ${stderr}${stdout}`);
      draws.push(parse<Draws>(line));
    }
  };
  await Promise.all(Array.from({ length: Math.min(AT_ONCE, count) }, restoreSome));
  return draws;
}

/** Returns, for each kind of value, how many clones drew what another one had drawn before. */
export function repeatsOf(draws: readonly Draws[]): Record<string, number> {
  const kinds = Object.keys(draws[0] ?? {});
  return Object.fromEntries(
    kinds.map((kind) => [kind, draws.length - new Set(draws.map((one) => one[kind])).size]),
  );
}

/** Kinds that the C library draws from the kernel each time: they differ whatever forkpoint does. */
export const SYSTEM_DRAWN: readonly string[] = ['mkdtemp'];
