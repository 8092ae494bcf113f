import assert from 'node:assert/strict';
import { chmodSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { after, before, describe, test } from 'node:test';
import { findCompiler } from '@forkpoint/engine';
import { createPerson, programPath, runToEnd } from '@forkpoint/testkit';
import type { Person } from '@forkpoint/testkit';

const VARIANTS: readonly (readonly [name: string, env: Readonly<Record<string, string>>])[] = [
  ['not linked', { HAZARDS_PLAIN: '1' }],
  ['linked from 8 pages on', { FORKPOINT_LINK_THRESHOLD: '8' }],
  ['linked page by page', { FORKPOINT_LINK_THRESHOLD: '1' }],
];

const SOURCES = ['hazards.c', 'policy.c', 'memory.c', 'kernel.c'].map((name) => programPath(`c/${name}`));
/** These change what the other cases rely on: the heap of malloc(3), and the arguments. */
const APART = ['brk', 'arguments'];

/** Names of the cases, from the tables in the sources. */
function cases(): string[] {
  return SOURCES.flatMap((source) =>
    [...readFileSync(source, 'utf8').matchAll(/^ {4}\{"([a-z-]+)", /gm)].map((match) => String(match[1])),
  );
}

/** Builds the program; dynamically linked, so that the shim can be preloaded, unless flags say otherwise. */
async function build(person: Person, name: string, flags: readonly string[] = []): Promise<string> {
  const program = join(person.scratch, name);
  const words = ['-std=gnu11', '-O1', '-pthread', ...flags, '-o', program, ...SOURCES, '-lutil'];
  const built = await runToEnd(['cc', ...words]).catch(() => null);
  if (built?.code !== 0) {
    const options = { env: process.env, log: () => undefined, signal: undefined };
    const compiler = await findCompiler(process.env['FORKPOINT_TEST_ENGINE'] ?? '', 'auto', options);
    const again = await runToEnd(compiler.executable(SOURCES, program, flags.includes('-static')));
    assert.equal(again.code, 0, `${built?.stderr}${again.stderr}`);
  }
  chmodSync(program, 0o755);
  return program;
}

describe('what linking must not disturb, over two generations', () => {
  let person: Person;
  let program: string;

  before(async () => {
    person = createPerson();
    program = await build(person, 'hazards');
  });
  after(async () => await person.leave());

  for (const [name, env] of VARIANTS) {
    test(`${name}: every page, descriptor, timer and signal is as the program left it`, async () => {
      await twoGenerations(
        name,
        env,
        cases().filter((one) => !APART.includes(one)),
      );
      await twoGenerations(name, env, APART);
    });
  }

  async function twoGenerations(
    name: string,
    env: Readonly<Record<string, string>>,
    wanted: readonly string[],
  ) {
    const images = [1, 2].map((k) => join(person.scratch, `${name.replaceAll(' ', '-')}-${wanted[0]}-${k}`));
    const first = await person.finish(['run', '--', program, ...images, ...wanted], { env });
    assert.deepEqual([first.code, first.stdout], [0, ''], first.stderr);
    const second = await person.finish(['restore', String(images[0])], { env });
    assert.deepEqual([second.code, second.stdout], [0, ''], second.stderr);
    const third = await person.finish(['restore', String(images[1])], { env });
    assert.deepEqual([third.code, third.stdout], [0, 'ok\n'], third.stderr);
  }
});
