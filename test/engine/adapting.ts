import assert from 'node:assert/strict';
import { cpSync, existsSync, mkdirSync, symlinkSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { build } from 'esbuild';
import { nodeBinary, programPath, root } from '@forkpoint/testkit';
import type { NodeMajor, Person } from '@forkpoint/testkit';
import { parse } from './helpers.ts';

const LIBRARIES = join(root, '.forkpoint/runtimes/node_modules');
const LIMIT_MS = 120_000;
let images = 0;

/** What the processes of one program have said, by name. */
export interface Said {
  /** Values of the lines with this name, of the original and then of its clones. */
  all<T>(name: string): T[];
  /** The only value of this name. */
  one<T>(name: string): T;
}

/**
 * Runs a program of testkit's `programs/adapters` through its rounds: checkpointed and going on, forked, restored twice. `libraries` are
 * packages that it imports. Every process has to end with 0.
 */
export async function goThrough(
  person: Person,
  name: string,
  options: {
    node: NodeMajor;
    libraries?: readonly string[];
    args?: readonly string[];
    env?: Readonly<Record<string, string>>;
    command?: readonly string[];
    /** Whether the program and its libraries are put into one file. */
    bundle?: boolean;
    /** How many clones of the image are started; 2 unless given. */
    clones?: number;
  },
): Promise<Said> {
  const place = join(person.scratch, `adapters-${name}-${options.node}`);
  if (!existsSync(place)) cpSync(programPath('adapters'), place, { recursive: true });
  for (const library of ['forkpoint', ...(options.libraries ?? [])]) {
    const link = join(place, 'node_modules', library);
    mkdirSync(dirname(link), { recursive: true });
    const target = library === 'forkpoint' ? join(root, 'packages/forkpoint') : join(LIBRARIES, library);
    if (!existsSync(link)) symlinkSync(target, link);
  }
  let file = name;
  if (options.bundle === true) {
    file = `bundled-${name}`;
    // CommonJS inside of an ES module needs a `require` for what belongs to Node.js.
    const banner =
      "import { createRequire } from 'node:module'; const require = createRequire(import.meta.url);";
    await build({
      entryPoints: [join(place, name)],
      outfile: join(place, file),
      bundle: true,
      platform: 'node',
      format: 'esm',
      external: ['forkpoint', 'forkpoint/*', 'pg-native', 'pg-cloudflare'],
      banner: { js: banner },
      logLevel: 'error',
    });
  }
  const image = join(person.scratch, `image-${name}-${options.node}-${++images}`);
  const command = options.command ?? [nodeBinary(options.node)];
  const env = { FORKPOINT_ADAPTERS_WAIT_MS: '1000', ...options.env };
  const words = ['run', '--cwd', place, '--', ...command, `./${file}`, image, ...(options.args ?? [])];
  const original = await person.finish(words, { env, timeoutMs: LIMIT_MS });
  const outputs = [original.stdout];
  assert.equal(original.code, 0, original.stderr + original.stdout);
  for (let clone = 0; clone < (options.clones ?? 2); clone++) {
    const { code, stdout, stderr } = await person.finish(['restore', image], { timeoutMs: LIMIT_MS });
    assert.equal(code, 0, stderr + stdout);
    outputs.push(stdout);
  }
  const text = outputs.join('\n');
  const all = <T>(line: string): T[] =>
    [...text.matchAll(new RegExp(`^${line} (.*)$`, 'gm'))].map((match) => parse<T>(match[1] ?? ''));
  return {
    all,
    one: <T>(line: string): T => {
      const values = all<T>(line);
      assert.equal(values.length, 1, `${line} was said ${values.length} times: ${text}`);
      return values[0] as T;
    },
  };
}

/** Returns what each process has used, in the order original, parent, children, clones, after the phase before the checkpoint. */
export function phases<T>(said: Said): { before: T; original: T; parent: T; others: T[] } {
  return {
    before: said.one<T>('before'),
    original: said.one<T>('original'),
    parent: said.one<T>('parent'),
    others: [...said.one<T[]>('children'), ...said.all<T>('clone')],
  };
}

/** No value is in two of the lists. */
export function assertDisjoint(lists: readonly (readonly unknown[])[], what: string): void {
  const sets = lists.map((list) => [...new Set(list)]);
  const all = sets.flat();
  assert.equal(new Set(all).size, all.length, `${what}: ${JSON.stringify(lists)}`);
}

/** A refusal names adapter, connection, work and a way out. */
export function assertRefused(said: Said, pattern: RegExp): void {
  const refused = said.one<{ code: string; message: string; resources: { what: string }[] } | null>(
    'refused',
  );
  assert.match(refused?.message ?? '', pattern);
  assert.match(refused?.message ?? '', /FORKPOINT_ADAPTERS=-/);
  assert.equal(refused?.code, 'ERR_FORKPOINT_HOOK');
  assert.ok((refused?.resources.length ?? 0) > 0);
}
